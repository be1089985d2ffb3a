"""What passes between this component and the nucleus, whatever carries it; `ipc.py` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class NucleusUnavailable(Exception):  # noqa: N818  # a state of affairs
    """There is no connection now, or the nucleus did not answer."""


class NucleusRefused(NucleusUnavailable):
    """The nucleus answered with an error: asking the same again is of no use."""


class Lifecycle(str, Enum):
    """What a component may report of itself."""

    RUNNING = "RUNNING"
    ERRORED = "ERRORED"


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told what the nucleus says. Called on the link's threads: hand on, do not work."""

    connected: Callable[[], None]
    configuration_changed: Callable[[str | None], None]
    status_requested: Callable[[], None]
