"""Ends what has gone silent: one thread that looks at deadlines, only while there are some."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.5
"""Deadlines are tens of seconds and more; looking oftener would only cost."""


class Watched:
    """One piece of work with a deadline that moves. A context manager; leaving it ends the watch."""

    def __init__(self, watchdog: Watchdog, abort: Callable[[], None]) -> None:
        self._watchdog = watchdog
        self._abort = abort
        self.deadline: float | None = None
        self.limit_seconds = 0.0
        self.reason = ""
        self.expired = False
        """The watchdog ended this work."""

    def expect_within(self, limit_seconds: float, reason: str) -> None:
        """From now on the next sign of life is due within `limit_seconds`; 0 is no limit."""
        self.limit_seconds = limit_seconds
        self.reason = reason
        self.deadline = self._watchdog.clock() + limit_seconds if limit_seconds else None

    def expire(self) -> None:
        """Too late: ends the work."""
        self.expired = True
        self._abort()

    def __enter__(self) -> Watched:
        self._watchdog.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watchdog.discard(self)


class Watchdog:
    """Holds the watched; its thread lives while there are any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._condition = threading.Condition()
        self._watched: set[Watched] = set()
        self._thread: threading.Thread | None = None

    def watch(self, abort: Callable[[], None]) -> Watched:
        """A watch that calls `abort` (from another thread) when its deadline passes."""
        return Watched(self, abort)

    def add(self, watched: Watched) -> None:
        """Called by entering the watch."""
        with self._condition:
            self._watched.add(watched)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
                self._thread.start()

    def discard(self, watched: Watched) -> None:
        """Called by leaving the watch."""
        with self._condition:
            self._watched.discard(watched)
            self._condition.notify_all()

    def _look(self) -> None:
        while True:
            with self._condition:
                if not self._watched:
                    self._thread = None
                    return
                self._condition.wait(LOOK_EVERY_SECONDS)
                late = [
                    watched
                    for watched in self._watched
                    if watched.deadline is not None and self.clock() >= watched.deadline
                ]
                self._watched.difference_update(late)
            for watched in late:
                try:
                    watched.expire()
                except Exception:  # the others are still to be watched
                    log.exception("could not end what went silent reason=%s", watched.reason)
