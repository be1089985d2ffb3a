"""Several images at once, for one command: until all are done, time is over, or somebody says stop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from dockermgr.cancellation import Cancellation
from dockermgr.config import ImageSpec
from dockermgr.errand import Report
from dockermgr.errors import ENGINE_CODES, DockermgrError, ErrorCode, ExitCode, Stopped
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.listing import Listing
from dockermgr.puller import Puller
from dockermgr.reconcile import to_request

Show = Callable[[str, ImageUpdate], None]
Ensure = Callable[[ImageSpec, Report, Cancellation], None]
"""Brings one image here, and reports how it gets on."""

_WORST_FIRST = (ExitCode.ENGINE, ExitCode.FAILED, ExitCode.TIMED_OUT, ExitCode.USAGE)


_USAGE_CODES = {ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID, ErrorCode.S3_RESOURCE_NOT_FOUND}
"""What was asked for is not there, or cannot be."""

_LOOK_SECONDS = 1.0
"""A signal that comes just before a wait does not end it; its handler runs after this time."""
_QUEUED = ImageUpdate(ImageState.QUEUED)


@dataclass(slots=True)
class _Item:
    update: ImageUpdate = _QUEUED
    done: bool = False


class Batch:
    """Pulls the given images; `run` in one thread, `stop` from any, also from a signal handler."""

    def __init__(self, specs: Iterable[ImageSpec], show: Show) -> None:
        self._items = {spec: _Item() for spec in specs}
        self._show = show
        self._cancellation = Cancellation()
        self._updates: queue.SimpleQueue[tuple[ImageSpec, ImageUpdate | None]] = queue.SimpleQueue()

    def stop(self) -> None:
        """Ends the batch: `run` returns with what is done by then."""
        # A new thread: cancelling takes locks that the interrupted one may hold.
        threading.Thread(target=self._cancellation.cancel, daemon=True).start()

    def run(self, puller: Puller, listing: Listing, timeout_seconds: float) -> ExitCode:
        """Pulls until every image is done, or for `timeout_seconds` (0: without limit).

        `show` is called in this thread, with each image's URI and update.
        """

        def ensure(spec: ImageSpec, report: Report, cancellation: Cancellation) -> None:
            puller.ensure(to_request(spec, None), listing, report, cancellation)

        return self.run_each(ensure, timeout_seconds)

    def run_each(self, ensure: Ensure, timeout_seconds: float) -> ExitCode:
        """The same for another way than a pull: `ensure` is called once for each, in a thread."""
        for spec in self._items:
            threading.Thread(
                target=self._work, args=(spec, ensure), name=spec.uri[:40], daemon=True
            ).start()
        ends_at = time.monotonic() + timeout_seconds if timeout_seconds else None
        while not all(item.done for item in self._items.values()):
            now = time.monotonic()
            if ends_at is not None and now >= ends_at:
                self._cancellation.cancel()
                break
            left = _LOOK_SECONDS if ends_at is None else min(_LOOK_SECONDS, ends_at - now)
            try:
                spec, update = self._updates.get(timeout=left)
            except queue.Empty:
                continue
            self._take(spec, update)
        codes = {_exit_code(item) for item in self._items.values()}
        return next((code for code in _WORST_FIRST if code in codes), ExitCode.DONE)

    def unfinished(self) -> tuple[tuple[str, DockermgrError | None], ...]:
        """The images that are not done, each with the last error."""
        return tuple(
            (spec.uri, item.update.error) for spec, item in self._items.items() if not item.done
        )

    def _take(self, spec: ImageSpec, update: ImageUpdate | None) -> None:
        item = self._items[spec]
        if item.done:
            return
        if update is None:  # its thread was stopped
            item.done = True
            return
        if update.error is None and update.state is ImageState.PULLING:
            # Time may run out in the middle of an attempt: the last reason is still the reason.
            item.update = replace(update, error=item.update.error)
        else:
            item.update = update
        # READY with an error: here, and nobody can say whether there is something newer.
        item.done = update.state in {ImageState.READY, ImageState.FAILED}
        self._show(spec.uri, update)

    def _work(self, spec: ImageSpec, ensure: Ensure) -> None:
        def report(update: ImageUpdate) -> None:
            self._updates.put((spec, update))

        try:
            ensure(spec, report, self._cancellation)
        except Stopped:
            self._updates.put((spec, None))
        except DockermgrError as error:
            report(ImageUpdate(ImageState.FAILED, error=error))
        except Exception as error:  # noqa: BLE001  # reported in full; the others go on
            broken = DockermgrError(
                ErrorCode.DOCKER_PULL_ERROR,
                f"dockermgr itself failed: {type(error).__name__}: {error}",
                hint="please report this, with the output of the same command and --verbose",
            )
            report(ImageUpdate(ImageState.FAILED, error=broken))


def _exit_code(item: _Item) -> ExitCode:
    state, error = item.update.state, item.update.error
    if state is ImageState.READY:
        return ExitCode.DONE
    if error is not None and error.code in ENGINE_CODES:
        return ExitCode.ENGINE
    if state is not ImageState.FAILED:
        return ExitCode.TIMED_OUT
    if error is not None and error.code in _USAGE_CODES:
        return ExitCode.USAGE
    return ExitCode.FAILED
