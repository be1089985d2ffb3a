"""The values on an image's way: who wants it, where it is, how it got on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dockermgr.errors import DockermgrError
from dockermgr.images import LocalImage
from dockermgr.policy import PullPolicy
from dockermgr.progress import Progress
from dockermgr.reference import Reference
from dockermgr.registry import Registry


class ImageState(str, Enum):
    """Where an image is on its way."""

    QUEUED = "QUEUED"
    PULLING = "PULLING"
    RETRYING = "RETRYING"
    READY = "READY"
    FAILED = "FAILED"
    REMOVED = "REMOVED"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image that somebody wants here."""

    uri: str
    reference: Reference
    registry: Registry
    policy: PullPolicy
    platform: str | None = None
    component: str | None = None
    """For whom; None: for the process's own component."""


@dataclass(frozen=True, slots=True)
class ImageUpdate:
    """One step on an image's way. READY with an `error` is an image that could not be checked for news."""

    state: ImageState
    attempt: int = 0
    retry_at: float | None = None
    """Epoch seconds of the next attempt."""
    progress: Progress | None = None
    error: DockermgrError | None = None
    digest: str | None = None
    image: LocalImage | None = None
    duration_seconds: float | None = None
