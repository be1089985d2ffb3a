"""What a nucleus did, one line an event."""

from __future__ import annotations

import time

from tests.sandbox.nucleus.states import State


class Transcript:
    """What happened, one line an event: seconds since the beginning, component, event."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._events: list[tuple[float, str, str]] = []

    def add(self, who: str, what: str) -> None:
        """An event, now."""
        self._events.append((time.monotonic() - self._began, who, what))

    def of(self, who: str) -> list[str]:
        """The events of one component."""
        return [what for _, name, what in self._events if name == who]

    def states_of(self, who: str) -> list[State]:
        """The states that a component was in."""
        words = [what.partition(":")[0] for what in self.of(who)]
        return [State(word) for word in words if word in State.__members__]

    def order(self, *whats: str) -> list[str]:
        """Who had one of these events, in order of time."""
        return [who for _, who, what in self._events if what in whats]

    def text(self) -> str:
        """All of it."""
        width = max((len(who) for _, who, _ in self._events), default=0)
        lines = (f"{at:8.2f}  {who:<{width}}  {what}" for at, who, what in self._events)
        return "\n".join(lines)
