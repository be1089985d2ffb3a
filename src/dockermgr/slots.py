"""How many pulls run at once: a semaphore whose size may change while threads wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dockermgr.cancellation import Cancellation


class Slots:
    """`limit` threads at a time; the others wait, in no stated order."""

    def __init__(self, limit: int) -> None:
        self._condition = threading.Condition()
        self._limit = limit
        self._taken = 0

    def resize(self, limit: int) -> None:
        """Those who run go on; a smaller limit counts for the next ones."""
        with self._condition:
            self._limit = limit
            self._condition.notify_all()

    @contextmanager
    def one(self, cancellation: Cancellation) -> Iterator[None]:
        """Holds a slot within. Raises `Stopped` when cancelled while waiting."""
        with cancellation.calling(self._wake), self._condition:
            while self._taken >= self._limit:
                cancellation.check()
                self._condition.wait()
            cancellation.check()
            self._taken += 1
        try:
            yield
        finally:
            with self._condition:
                self._taken -= 1
                self._condition.notify()

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()
