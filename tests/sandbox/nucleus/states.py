"""The states of a component, and how long and how often a nucleus tries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Limits:
    """How long, in seconds, and how often; the defaults are those of the nuclei."""

    step_seconds: float = 120.0
    """For install and startup without a Timeout of their own."""
    settle_seconds: float = 300.0
    """Lite: how long a deployment waits for one component."""
    java_grace_seconds: float = 15.0
    """Between SIGTERM and SIGKILL, and for `shutdown`."""
    lite_grace_seconds: float = 90.0
    """The same: systemd's DefaultTimeoutStopSec."""
    recover_seconds: float = 60.0
    failures: int = 3
    """Java: so many times ERRORED out of one state is BROKEN. Lite: so often a unit is started
    (StartLimitBurst)."""
    restart_seconds: float = 1.0
    """Lite: RestartSec."""


class State(str, Enum):
    """A component's state, in the words of Java."""

    NEW = "NEW"
    INSTALLED = "INSTALLED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    ERRORED = "ERRORED"
    BROKEN = "BROKEN"
    FINISHED = "FINISHED"
    STOPPED = "STOPPED"
    """Of no deployment any more or, on Lite, gone with a dependency."""


UP = (State.RUNNING, State.FINISHED)
"""What a HARD dependency must be in, and what a deployment waits for."""
