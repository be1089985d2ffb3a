"""A loop that handles events as they come, and what is due when it is due, all in one thread."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

Action = Callable[[], None]
_LONGEST_WAIT_SECONDS = 3600.0


class Loop:
    """`put` may be called from any thread, also from a signal's handler; all else by its own thread."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Action] = queue.SimpleQueue()
        self._due: dict[Action, float] = {}

    def put(self, event: Action) -> None:
        """`event` is called by the loop's thread, soon."""
        self._events.put(event)

    def at(self, action: Action, seconds: float) -> None:
        """`action` is called in so many seconds, or earlier if that was arranged before."""
        due = time.monotonic() + seconds
        self._due[action] = min(due, self._due.get(action, due))

    def move(self, action: Action, moment: float) -> None:
        """`action` is called at that moment of the monotonic clock, whatever was arranged before."""
        self._due[action] = moment

    def waits_for(self, action: Action) -> bool:
        """Whether it is arranged."""
        return action in self._due

    def step(self) -> None:
        """Handles what is due, else waits for one event and handles that."""
        now = time.monotonic()
        late = [action for action, due in self._due.items() if due <= now]
        for action in late:
            del self._due[action]
            action()
        if late:
            return
        wait = min(self._due.values(), default=now + _LONGEST_WAIT_SECONDS) - now
        try:
            event = self._events.get(timeout=max(0.0, wait))
        except queue.Empty:
            return
        event()
