"""The link that a TCP proxy stands for: how fast it is, when it breaks, what has passed."""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

CAPTIVE_PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://wifi.example.com/login\r\n\r\n"
"""What a captive portal that knows no TLS says on port 443."""


class Kind(enum.Enum):
    """How a connection ends, or does not."""

    RESET = "reset"
    """RST: what a NAT that has forgotten the connection sends."""
    CUT = "cut"
    """FIN, as if all had been said: what a proxy does when its time is up."""
    STALL = "stall"
    """Open, but silent, until `mend`; after 0 bytes a black hole that accepts and never answers."""
    GARBAGE = "garbage"
    """Other bytes than the registry's, then FIN."""


@dataclass(frozen=True, slots=True)
class Break:
    """What happens to connections, each when it has passed `after_bytes` to the client.

    The bytes are those of TLS: a handshake with a sandbox certificate is about 1 kB of them. After 0
    bytes means: in answer to the client's first.
    """

    kind: Kind
    after_bytes: int = 0
    times: float = math.inf
    """How many connections it strikes, before the next break in the line has its turn."""
    garbage: bytes = CAPTIVE_PORTAL


class Link:
    """Settings and counters that all connections of a proxy share; changed in its thread only."""

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        """Added to each round trip, and to the making of a connection; to be set by anyone."""
        self.bytes_per_second = math.inf
        """The speed towards clients, which all connections share; to be set by anyone."""
        self.connections = 0
        """How many were accepted so far."""
        self.bytes_up = 0
        self.bytes_down = 0
        """How many bytes were passed on, from and to clients."""
        self.struck = 0
        """How many times a connection broke on purpose."""
        self._breaks: list[tuple[Break, float]] = []
        self._mended = asyncio.Event()
        self._free_at = 0.0

    def add_breaks(self, breaks: Sequence[Break]) -> None:
        """Queues them."""
        self._breaks += [(each, each.times) for each in breaks]

    def mend_link(self) -> None:
        """Full speed, no delay, no breaks; what was stalled goes on."""
        self._breaks.clear()
        self.delay_seconds, self.bytes_per_second, self._free_at = 0.0, math.inf, 0.0
        self._mended.set()
        self._mended = asyncio.Event()

    def next_break(self, sent: int) -> tuple[Break | None, float]:
        """What strikes a connection now, if anything; and how many bytes it may pass until then."""
        while self._breaks and self._breaks[0][1] <= 0:
            self._breaks.pop(0)
        if not self._breaks:
            return None, math.inf
        each, left = self._breaks[0]
        if each.after_bytes > sent:
            return None, each.after_bytes - sent
        self._breaks[0] = each, left - 1
        self.struck += 1
        return each, 0

    async def pace(self, size: int) -> None:
        """Waits for as long as the link needs for so many bytes."""
        if self.bytes_per_second < math.inf:
            loop = asyncio.get_running_loop()
            begin = max(loop.time(), self._free_at)
            self._free_at = begin + size / self.bytes_per_second
            await asyncio.sleep(self._free_at - loop.time())

    async def wait_mended(self) -> None:
        """Waits for the next `mend`."""
        await self._mended.wait()
