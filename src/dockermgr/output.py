"""How `pull` shows what happens: bars on a terminal, a line per step elsewhere, JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import Protocol, TextIO

from dockermgr.image import ImageState, ImageUpdate
from dockermgr.progress import Stage
from dockermgr.redact import redact
from dockermgr.status import Origin, Throttle, image_message

BAR_CELLS = 24
WHAT_CELLS = 32
REDRAW_SECONDS = 0.1
"""Oftener than the eye can read is only work for the terminal."""

_MEGABYTE = 1_000_000


class Output(Protocol):
    """Shows updates, in the order they come."""

    def show(self, uri: str, update: ImageUpdate) -> None: ...

    def close(self) -> None: ...


def output_for(stream: TextIO, *, as_json: bool, component: str) -> Output:
    """The kind of output that fits the stream."""
    if as_json:
        return JsonLines(stream, component)
    return Bars(stream) if stream.isatty() else Lines(stream)


class JsonLines:
    """One status message per line, the same as over IPC."""

    def __init__(self, stream: TextIO, component: str) -> None:
        self._stream = stream
        self._origin = Origin(os.environ.get("AWS_IOT_THING_NAME"), component)
        self._throttles: dict[str, Throttle] = {}

    def show(self, uri: str, update: ImageUpdate) -> None:
        """Prints what would be published."""
        throttle = self._throttles.setdefault(uri, Throttle())
        if throttle.passes(update, time.monotonic()):
            message = image_message(self._origin, uri, update, time.time())
            print(json.dumps(message), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is left open."""


class Lines:
    """One line per step: for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: dict[str, tuple[ImageState, int, int]] = {}

    def show(self, uri: str, update: ImageUpdate) -> None:
        """Prints changes of state, and progress in steps of 25 %."""
        quarter = update.progress.percent // 25 if update.progress is not None else 0
        step = (update.state, update.attempt, quarter)
        if self._last.get(uri) != step:
            self._last[uri] = step
            print(f"{uri}: {describe(update)}", file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is left open."""


class Bars:
    """One bar per image, redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._updates: dict[str, ImageUpdate] = {}
        self._drawn_lines = 0
        self._drawn_at = 0.0

    def show(self, uri: str, update: ImageUpdate) -> None:
        """Redraws, at once for a change of state."""
        last = self._updates.get(uri)
        self._updates[uri] = update
        changed = last is None or last.state is not update.state
        if changed or time.monotonic() - self._drawn_at >= REDRAW_SECONDS:
            self._draw()

    def close(self) -> None:
        """Draws the end, and below it in full what went wrong."""
        self._draw()
        for uri, update in self._updates.items():
            if update.error is not None and update.retry_at is None:
                print(f"{uri}: {describe(update)}", file=self._stream, flush=True)

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns
        up = f"\x1b[{self._drawn_lines}A" if self._drawn_lines else ""
        lines = [
            f"\x1b[2K{_bar_line(uri, update, width - 1)}\n" for uri, update in self._updates.items()
        ]
        self._stream.write(up + "".join(lines))
        self._stream.flush()
        self._drawn_lines, self._drawn_at = len(lines), time.monotonic()


def _bar_line(uri: str, update: ImageUpdate, width: int) -> str:
    percent = 100 if update.state is ImageState.READY else 0
    if update.progress is not None:
        percent = update.progress.percent
    filled = BAR_CELLS * percent // 100
    what = update.state.value
    if update.error is not None:
        what += f" {update.error.code.value}"
    elif update.progress is not None:
        total = update.progress.total_bytes / _MEGABYTE
        what = f"{update.progress.stage.value} {percent} % of {total:.1f} MB"
        if update.progress.stage is Stage.RESOLVING:
            what = "asking the registry"
    line = f"[{'#' * filled}{'.' * (BAR_CELLS - filled)}] {what:<{WHAT_CELLS}} "
    # Of a long URI the end says more: repository and tag.
    room = max(width - len(line), 0)
    return (line + (uri if len(uri) <= room else f"…{uri[len(uri) - room + 1 :]}"))[:width]


def describe(update: ImageUpdate) -> str:
    """An update in a few words, without secrets."""
    return redact(_describe(update))


def _describe(update: ImageUpdate) -> str:
    if update.state is ImageState.READY and update.error is None:
        size = f", {update.image.size_bytes / _MEGABYTE:.1f} MB" if update.image else ""
        digest = f" {update.digest}" if update.digest else ""
        return f"READY{digest}{size} in {update.duration_seconds or 0:.1f} s"
    if update.state is ImageState.READY:
        return f"READY, but it could not be checked for a newer one: {update.error}"
    if update.error is not None and update.retry_at is not None:
        wait = max(0.0, update.retry_at - time.time())
        return f"RETRYING in {wait:.1f} s after attempt {update.attempt}: {update.error}"
    if update.error is not None:
        return f"{update.state.value} {update.error}"
    now = update.progress
    if now is None:
        return str(update.state.value)
    if now.stage is Stage.RESOLVING:
        return "PULLING, asking the registry"
    done, total = now.downloaded_bytes / _MEGABYTE, now.total_bytes / _MEGABYTE
    return f"PULLING, {now.stage.value} {now.percent} % ({done:.1f} of {total:.1f} MB)"
