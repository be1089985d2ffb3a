"""One connection through a TCP proxy, as fast, as late and as whole as its link."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from tests.sandbox.faults.link import Kind, Link

_CHUNK_BYTES = 256 * 1024
_QUEUED_CHUNKS = 32  # 8 MiB in each direction: a window that 40 ms and 1 Gbit/s do not fill
_PIECE_SECONDS = 0.05  # a slow link sends pieces of this length, and so notices a change of speed


class Connection:
    """Two directions. An OSError out of `serve` means: reset it."""

    def __init__(self, link: Link, client: socket.socket, server: socket.socket) -> None:
        self._link = link
        self._client = client
        self._server = server
        self._sent = 0
        self._limit = math.inf
        self._stalled = False
        self._client_gone = False
        self._client_spoke = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for each in (client, server):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def serve(self, address: tuple[str, int]) -> None:
        """Passes bytes on to and from `address`; returns when both directions have ended."""
        await asyncio.sleep(self._link.delay_seconds)  # for SYN and its answer
        await self._loop.sock_connect(self._server, address)
        ways = [self._loop.create_task(way) for way in (self._up(), self._down())]
        try:
            await asyncio.gather(*ways)
        finally:
            await end(*ways)

    async def _up(self) -> None:
        await self._pass_on(self._client, self._send_up)
        self._client_gone = True
        if self._stalled:
            raise ConnectionAbortedError

    async def _down(self) -> None:
        # Breaks are answers. One that came sooner could reach a client that is still connecting.
        await self._client_spoke.wait()
        if not await self._strike():
            await self._pass_on(self._server, self._send_down)

    async def _pass_on(
        self, source: socket.socket, send: Callable[[bytes], Coroutine[Any, Any, bool]]
    ) -> None:
        # Reading goes on while earlier bytes are under way: a delay takes no bandwidth.
        queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(_QUEUED_CHUNKS)
        reader = self._loop.create_task(self._read(source, queue))
        try:
            while True:
                due, chunk = await queue.get()
                if due > self._loop.time():
                    await asyncio.sleep(due - self._loop.time())
                if chunk is None:
                    raise ConnectionResetError
                if not await send(chunk):
                    return
        finally:
            await end(reader)

    async def _read(
        self, source: socket.socket, queue: asyncio.Queue[tuple[float, bytes | None]]
    ) -> None:
        chunk: bytes | None = b"to begin with"
        while chunk:
            try:
                chunk = await self._loop.sock_recv(source, _CHUNK_BYTES)
            except OSError:
                chunk = None
            await queue.put((self._loop.time() + self._link.delay_seconds / 2, chunk))

    async def _send_up(self, chunk: bytes) -> bool:
        self._client_spoke.set()
        if not chunk:
            self._server.shutdown(socket.SHUT_WR)
            return False
        await self._loop.sock_sendall(self._server, chunk)
        self._link.bytes_up += len(chunk)
        return True

    async def _send_down(self, chunk: bytes) -> bool:
        """Whether more may follow."""
        if not chunk:
            self._client.shutdown(socket.SHUT_WR)
            return False
        rest = memoryview(chunk)
        while rest:
            if await self._strike():
                return False
            most = min(self._limit, self._link.bytes_per_second * _PIECE_SECONDS, len(rest))
            piece = rest[: max(1, int(most))]
            await self._link.pace(len(piece))
            await self._loop.sock_sendall(self._client, piece)
            self._sent += len(piece)
            self._link.bytes_down += len(piece)
            rest = rest[len(piece) :]
        return not await self._strike()

    async def _strike(self) -> bool:
        """Plays the breaks that are due. Whether the client gets no more."""
        while True:
            each, self._limit = self._link.next_break(self._sent)
            if each is None:
                return False
            if each.kind is Kind.RESET:
                raise ConnectionResetError
            if each.kind is not Kind.STALL:
                if each.kind is Kind.GARBAGE:
                    await self._loop.sock_sendall(self._client, each.garbage)
                self._client.shutdown(socket.SHUT_WR)
                return True
            if self._client_gone:
                raise ConnectionAbortedError
            self._stalled = True
            await self._link.wait_mended()
            self._stalled = False


async def end(*tasks: asyncio.Task[None]) -> None:
    """Ends tasks before their sockets are closed: the loop must not look at closed ones."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
