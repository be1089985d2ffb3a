"""A Unix socket served by an asyncio loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import TypeAlias

ClientHandler: TypeAlias = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]
]

_START_SECONDS = 30.0
"""Far more than a thread and a socket take, on any machine."""


class SocketListener:
    """Serves each client of a Unix socket with `handle_client`, in the listener's own thread.

    `end_clients` is called once the socket is closed; it makes every `handle_client` return.
    """

    def __init__(
        self, socket_path: Path, handle_client: ClientHandler, end_clients: Callable[[], None]
    ) -> None:
        self._socket_path = socket_path
        self._handle_client = handle_client
        self._end_clients = end_clients
        self._clients: set[asyncio.Task[None]] = set()
        self._running: tuple[threading.Thread, asyncio.AbstractEventLoop, asyncio.Event] | None
        self._running = None

    def start(self) -> None:
        """Listens; returns when clients can connect. Raises OSError if there can be no socket."""
        if self._running:
            raise RuntimeError("the IPC server runs already")
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="sandbox-ipc", daemon=True
        )
        thread.start()
        try:
            self._running = (thread, *started.result(_START_SECONDS))
        except OSError:
            thread.join()
            raise

    def stop(self) -> None:
        """Ends all clients; leaves no thread and no socket file."""
        if not self._running:
            return
        thread, loop, stopping = self._running
        self._running = None
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        self._socket_path.unlink(missing_ok=True)

    async def _serve(
        self, started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]
    ) -> None:
        stopping = asyncio.Event()
        try:
            server = await asyncio.start_unix_server(self._accept, str(self._socket_path))
        except OSError as error:
            started.set_exception(error)
            return
        # Components run as other users: everyone may connect, and the token decides.
        self._socket_path.chmod(0o666)
        started.set_result((asyncio.get_running_loop(), stopping))
        await stopping.wait()
        server.close()
        self._end_clients()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._handle_client(reader, writer)
        finally:
            self._clients.discard(task)
