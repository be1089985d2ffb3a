"""The status messages that go over IPC, and which of them are worth sending: pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from dockermgr.errors import DockermgrError
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.redact import redact

SCHEMA = "dockermgr.status/v1"
PROGRESS_INTERVAL_SECONDS = 1.0
"""At most one progress message per image in this time, locally."""
MAX_TEXT_CHARACTERS = 1000
MAX_URI_CHARACTERS = 600
MAX_PROBLEMS = 10
"""Together these keep every message under 8,000 bytes: the Lite nucleus closes the connection of who
sends 10,000."""

# From bad to good: the summary says the first that occurs.
_WORST_FIRST = (
    ImageState.FAILED,
    ImageState.RETRYING,
    ImageState.PULLING,
    ImageState.QUEUED,
    ImageState.READY,
)

Message = dict[str, object]


@dataclass(frozen=True, slots=True)
class Origin:
    """What every message says of its sender."""

    thing_name: str | None
    component: str


def timestamp(epoch_seconds: float) -> str:
    """RFC 3339, UTC, milliseconds."""
    moment = datetime.fromtimestamp(epoch_seconds, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shorten(text: str, limit: int) -> str:
    """`text` as ASCII-only JSON would carry it within `limit` bytes; the end is cut, and says so."""
    length = _wire_length(text)
    if length <= limit:
        return text
    kept = text[: limit * len(text) // length]
    while _wire_length(kept) > limit:
        kept = kept[: len(kept) * 9 // 10]
    return f"{kept}…"


def _wire_length(text: str) -> int:
    return len(json.dumps(text)) - 2


def error_message(error: DockermgrError) -> Message:
    """`{code, message, hint, retryable}`."""
    return {
        "code": error.code.value,
        "message": shorten(redact(error.message), MAX_TEXT_CHARACTERS),
        "hint": shorten(redact(error.hint), MAX_TEXT_CHARACTERS),
        "retryable": error.retryable,
    }


def image_message(origin: Origin, uri: str, update: ImageUpdate, now: float) -> Message:
    """The message of one image; `now` in epoch seconds."""
    progress = update.progress
    image = update.image
    return {
        "schema": SCHEMA,
        "timestamp": timestamp(now),
        "thingName": origin.thing_name,
        "component": origin.component,
        "image": shorten(uri, MAX_URI_CHARACTERS),
        "state": update.state.value,
        "attempt": update.attempt,
        "retryAt": timestamp(update.retry_at) if update.retry_at is not None else None,
        "progress": {
            "stage": progress.stage.value,
            "downloadedBytes": progress.downloaded_bytes,
            "totalBytes": progress.total_bytes,
            "percent": progress.percent,
        }
        if progress is not None
        else None,
        "digest": update.digest,
        "imageId": image.image_id if image is not None else None,
        "sizeBytes": image.size_bytes if image is not None else None,
        "durationMs": round(update.duration_seconds * 1000)
        if update.duration_seconds is not None
        else None,
        "error": error_message(update.error) if update.error is not None else None,
    }


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine in the summary: `version` None while it does not answer."""

    version: str | None = None
    data_root: str = ""
    free_bytes: int | None = None
    error: DockermgrError | None = None


def worst_state(states: Iterable[ImageState]) -> ImageState | None:
    """The state that deserves a look first; None when there are no images."""
    present = set(states)
    return next((state for state in _WORST_FIRST if state in present), None)


def summary_message(
    origin: Origin,
    states: Iterable[ImageState],
    engine: EngineStatus,
    problems: Iterable[object],
    now: float,
) -> Message:
    """The message of the whole manager; `problems` are those of the configuration."""
    states = tuple(states)
    counts: Mapping[str, int] = {
        state.value: states.count(state) for state in reversed(_WORST_FIRST)
    }
    worst = worst_state(states)
    complaints = [shorten(redact(str(problem)), 300) for problem in problems][:MAX_PROBLEMS]
    return {
        "schema": SCHEMA,
        "timestamp": timestamp(now),
        "thingName": origin.thing_name,
        "component": origin.component,
        "images": len(states),
        "counts": counts,
        "worst": worst.value if worst is not None else None,
        "freeBytes": engine.free_bytes,
        "engine": {
            "available": engine.version is not None,
            "version": engine.version,
            "error": error_message(engine.error) if engine.error is not None else None,
        },
        "configurationProblems": complaints,
    }


class Throttle:
    """Which updates of one image to send: each change, and progress of 1 % or more once a second."""

    def __init__(self) -> None:
        self._last: ImageUpdate | None = None
        self._sent_at = float("-inf")

    def passes(self, update: ImageUpdate, now: float) -> bool:
        """`now` from a monotonic clock, in seconds. Remembers what it let pass."""
        last = self._last
        worth_it = last is None or _differs(last, update)
        if not worth_it and last is not None and now - self._sent_at >= PROGRESS_INTERVAL_SECONDS:
            worth_it = _percent(update) > _percent(last) or _stage(update) != _stage(last)
        if worth_it:
            self._last, self._sent_at = update, now
        return worth_it


def _differs(last: ImageUpdate, update: ImageUpdate) -> bool:
    return (
        (last.state, last.attempt) != (update.state, update.attempt)
        or last.error is not update.error
        or last.digest != update.digest
    )


def _percent(update: ImageUpdate) -> int:
    return update.progress.percent if update.progress is not None else 0


def _stage(update: ImageUpdate) -> object:
    return update.progress.stage if update.progress is not None else None
