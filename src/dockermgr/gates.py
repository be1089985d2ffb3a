"""Back-off that is shared: one registry that fails is asked by one image at a time, not by all.

Who fails closes the gate of what failed (a registry, the engine) for a while that grows with each
failure in a row. When it opens, the first one through tries on behalf of the others; its success lets
them all through, its failure closes the gate again. Other gates are not touched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dockermgr.cancellation import Cancellation
from dockermgr.config import RetryConfig
from dockermgr.errors import DockermgrError
from dockermgr.retry import back_off_seconds


@dataclass(slots=True)
class _Gate:
    failures: int
    closed_at: float
    opens_at: float
    error: DockermgrError
    somebody_tries: bool = False


@dataclass(frozen=True, slots=True)
class Ticket:
    """An entry: when, and whether others wait for what comes of it."""

    entered_at: float
    first: bool


StillClosed = Callable[[DockermgrError, float], None]
"""Told, with the last error and the seconds to go, by whom the wait is longer than was thought."""


class Gates:
    """The gates that are not open. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._gates: dict[str, _Gate] = {}

    def enter(self, name: str, cancellation: Cancellation, still_closed: StillClosed) -> Ticket:
        """Waits until an attempt is due. Returns a ticket for `failed`. Raises `Stopped`.

        Every entry is followed by `succeeded`, `failed` or `left`.
        """
        told: DockermgrError | None = None
        with cancellation.calling(self._wake), self._condition:
            while True:
                cancellation.check()
                gate = self._gates.get(name)
                now = self._clock()
                if gate is None:
                    return Ticket(now, first=False)
                if now >= gate.opens_at and not gate.somebody_tries:
                    gate.somebody_tries = True
                    return Ticket(now, first=True)
                if now < gate.opens_at and told is not gate.error:
                    told = gate.error
                    still_closed(gate.error, gate.opens_at - now)
                self._condition.wait(gate.opens_at - now if now < gate.opens_at else None)

    def try_enter(self, name: str) -> Ticket | None:
        """As `enter`, for what can be done without: None where one would have to wait."""
        with self._condition:
            gate, now = self._gates.get(name), self._clock()
            if gate is not None and (now < gate.opens_at or gate.somebody_tries):
                return None
            if gate is not None:
                gate.somebody_tries = True
            return Ticket(now, first=gate is not None)

    def succeeded(self, name: str) -> None:
        """What the gate is of works: everybody may pass."""
        with self._condition:
            if self._gates.pop(name, None) is not None:
                self._condition.notify_all()

    def left(self, name: str, ticket: Ticket) -> None:
        """The attempt ended without showing whether it works: the next one may try."""
        with self._condition:
            gate = self._gates.get(name)
            if gate is not None and ticket.first:
                gate.somebody_tries = False
                self._condition.notify_all()

    def failed(
        self, name: str, ticket: Ticket, error: DockermgrError, config: RetryConfig
    ) -> float:
        """The attempt that entered with `ticket` failed. Returns the seconds until the next one."""
        with self._condition:
            now = self._clock()
            gate = self._gates.get(name)
            if gate is not None and not ticket.first and ticket.entered_at < gate.closed_at:
                # Several were inside when the first of them failed: that is one failure, not several.
                return max(0.0, gate.opens_at - now)
            failures = gate.failures + 1 if gate is not None else 1
            wait = back_off_seconds(failures, config, retry_after_seconds=error.retry_after_seconds)
            self._gates[name] = _Gate(failures, now, now + wait, error)
            self._condition.notify_all()
            return wait

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()
