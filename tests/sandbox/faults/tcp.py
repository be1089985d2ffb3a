"""A TCP proxy before a registry, and all that a bad network does to connections.

Bytes pass unread, so TLS is between client and registry. An event loop in one thread serves all
connections: bytes in delay are timers in it, where they would be hundreds of threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from tests.sandbox.faults.connection import Connection, end
from tests.sandbox.faults.link import Break, Link
from tests.sandbox.processes import wait_until

PORT = 443
_CALL_TIMEOUT_SECONDS = 10.0


class Upstream(Protocol):
    """What a proxy can stand before: a registry, or another proxy."""

    @property
    def names(self) -> Sequence[str]:
        """The host names it answers to."""

    @property
    def address(self) -> str:
        """Where it listens, at port 443."""


class TcpProxy(Link):
    """Stands at `address`:443 and passes all on to `upstream`, until told otherwise.

    A registry that is down makes it reset connections: it has accepted them already.
    """

    def __init__(self, upstream: Upstream, address: str) -> None:
        super().__init__()
        self.names = list(upstream.names)
        self.address = address
        self.upstream = upstream
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"sandbox-tcp-proxy-{address}", daemon=True
        )

    def start(self) -> None:
        """Listens, and passes on."""
        self._thread.start()
        self._call(self._listen)

    def close(self) -> None:
        """Resets all connections, refuses further ones and ends its thread."""
        self._call(self._refuse)
        self._call(self._reset_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def open_connections(self) -> int:
        """How many there are now."""
        return len(self._open)

    def inject(self, *breaks: Break) -> None:
        """Queues breaks; those before them come first. They strike open connections, too."""
        self._call(lambda: self.add_breaks(breaks))

    def refuse(self) -> None:
        """`connection refused` until `mend`; connections that are open stay so."""
        self._call(self._refuse)

    def reset_connections(self) -> None:
        """Resets all that are open now, as when the uplink changes its address."""
        self._call(self._reset_all)

    def mend(self) -> None:
        """No breaks, no delay, full speed; stalled connections go on where they were."""
        self._call(self.mend_link)
        self._call(self._listen)

    def wait_for(
        self,
        *,
        connections: int = 0,
        bytes_down: int = 0,
        struck: int = 0,
        open_at_most: float = math.inf,
    ) -> None:
        """Returns when the counters are at least, open connections at most, what is asked for."""
        wait_until(
            lambda: (
                self.connections >= connections
                and self.bytes_down >= bytes_down
                and self.struck >= struck
                and self.open_connections <= open_at_most
            ),
            f"the proxy before {self.names[0]} has seen {connections=} {bytes_down=} {struck=}"
            f" {open_at_most=}",
        )

    def _call(self, action: Callable[[], object]) -> None:
        """Runs something in the loop's thread: what it does has happened on return."""

        async def run() -> None:
            done = action()
            if isinstance(done, asyncio.Task):
                with contextlib.suppress(asyncio.CancelledError):
                    await done

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(_CALL_TIMEOUT_SECONDS)

    def _listen(self) -> None:
        if self._listener is None:
            listener = socket.create_server((self.address, PORT), backlog=128)
            listener.setblocking(False)
            self._listener = self._loop.create_task(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                client, _ = await self._loop.sock_accept(listener)
                self.connections += 1
                task = self._loop.create_task(self._serve(client))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                # Not by the task itself: one that is cancelled before it began does nothing.
                task.add_done_callback(functools.partial(_close, client))

    def _refuse(self) -> asyncio.Task[None] | None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
        return listener

    def _reset_all(self) -> asyncio.Task[None]:
        async def reset_all() -> None:
            await end(*self._tasks)

        return self._loop.create_task(reset_all())

    async def _serve(self, client: socket.socket) -> None:
        with socket.socket() as server:
            connection = Connection(self, client, server)
            self._open.add(connection)
            try:
                await connection.serve((self.upstream.address, PORT))
            except (OSError, asyncio.CancelledError):
                for each in (client, server):
                    # With no time to linger close() sends RST.
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            finally:
                self._open.discard(connection)


def _close(connection: socket.socket, _: asyncio.Task[None]) -> None:
    connection.close()
