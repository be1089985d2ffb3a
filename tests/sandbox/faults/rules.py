"""Which request is struck by which fault, and what was asked."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from tests.sandbox.faults.answers import Answer

PING = r"^/v2/$"
MANIFESTS = r"^/v2/.+/manifests/"
BLOBS = r"^/v2/.+/blobs/"
"""Layers and image configurations."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the next `times` requests that it is meant for.

    With nothing but a delay the registry's own answer comes after it.
    """

    path: str = ""
    """A regular expression, searched for in the path: `PING`, `MANIFESTS`, `BLOBS` or another."""
    answer: Answer | None = None
    corrupt: bool = False
    """The first byte of the body is another one: the length is right, the digest is not."""
    truncate_after_bytes: int | None = None
    """The connection ends within the body, whose announced length is the whole one."""
    drop: bool = False
    """The connection ends without an answer."""
    delay_seconds: float = 0.0
    """Before the answer; `math.inf`: none comes while the proxy is there."""
    method: str = ""
    """A regular expression for all of it; empty for any."""
    host: str = ""
    """Only what is asked of this host, such as a proxy's `blob_host`; empty for any."""
    times: float = 1
    skip: int = 0
    """How many that it is meant for pass before it strikes."""

    def means(self, method: str, host: str, path: str) -> bool:
        """Whether it is meant for such a request."""
        return (
            re.search(self.path, path) is not None
            and (not self.method or re.fullmatch(self.method, method) is not None)
            and self.host in ("", host)
        )


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked, and answered."""

    method: str
    host: str
    path: str
    range: str
    """The header of this name: clients resume a download with it."""
    status: int
    """0 when the connection was dropped."""
    fault: Fault | None


@dataclass(slots=True)
class _Queued:
    fault: Fault
    skip: int
    left: float


class Rules:
    """The faults that wait for requests; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[_Queued] = []

    def add(self, faults: Iterable[Fault]) -> None:
        """Queues faults behind those that are there."""
        with self._lock:
            self._queue += [_Queued(fault, fault.skip, fault.times) for fault in faults]

    def clear(self) -> None:
        """Forgets them all."""
        with self._lock:
            self._queue.clear()

    def take(self, method: str, host: str, path: str) -> Fault | None:
        """The first in the line that is meant for this request, and is not used up."""
        with self._lock:
            for queued in self._queue:
                if queued.left <= 0 or not queued.fault.means(method, host, path):
                    continue
                if queued.skip > 0:
                    queued.skip -= 1
                    continue
                queued.left -= 1
                return queued.fault
        return None
