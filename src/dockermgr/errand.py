"""One image's attempts: which one it is, since when, and what was reported last."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dockermgr.cancellation import Cancellation
from dockermgr.config import RetryConfig
from dockermgr.credentials import Credential
from dockermgr.errors import DockermgrError
from dockermgr.image import ImageRequest, ImageState, ImageUpdate
from dockermgr.images import LocalImage
from dockermgr.progress import Progress, Stage
from dockermgr.reference import Reference
from dockermgr.retry import back_off_seconds, keep_trying

log = logging.getLogger(__name__)

Report = Callable[[ImageUpdate], None]


class Errand:
    """What one `ensure` knows of its image: which attempt, since when, what was reported last."""

    def __init__(
        self,
        request: ImageRequest,
        report: Report,
        cancellation: Cancellation,
        retry: RetryConfig,
    ) -> None:
        self.request = request
        self.cancellation = cancellation
        self.present: LocalImage | None = None
        self._report = report
        self._retry = retry
        self.fallback: LocalImage | None = None
        """An image of that name which is not quite what is wanted."""
        self.gate_wait: float | None = None
        """Set by who closed a gate on this attempt's failure: the seconds that the gate stays closed."""
        self.heard_of = False
        """The registry has answered in this attempt."""
        self.at_mirror: Reference | None = None
        """What a mirror calls the image, once it came from there; a name to be forgotten."""
        self.credential: Credential | None = None
        """What the registry was last asked with."""
        self._told: DockermgrError | None = None
        self._attempt = 0
        self._began = time.monotonic()
        self._last: Progress | None = None

    def until_done(self, attempt: Callable[[], ImageUpdate]) -> ImageUpdate:
        """Calls `attempt` until it succeeds, or its error is not worth another one (raised)."""

        def step() -> ImageUpdate:
            self.cancellation.check()
            self._attempt += 1
            self.gate_wait = None
            self.heard_of = False
            return attempt()

        return keep_trying(
            step,
            self._retry,
            wait=self._wait_seconds,
            sleep=self.cancellation.wait,
            on_failure=self._will_retry,
        )

    def _wait_seconds(self, error: DockermgrError, failures: int) -> float:
        # At a closed gate the waiting is done there, where another image's success ends it.
        if self.gate_wait is not None:
            return 0.0
        return back_off_seconds(
            failures, self._retry, retry_after_seconds=error.retry_after_seconds
        )

    def _will_retry(self, error: DockermgrError, wait_seconds: float) -> None:
        self.still_waiting(error, self.gate_wait if self.gate_wait is not None else wait_seconds)

    def still_waiting(self, error: DockermgrError, wait_seconds: float) -> None:
        """Reports when the next attempt is due, and why it is not now; once for each error."""
        if error is self._told:
            return
        self._told = error
        log.warning(
            "waiting image=%s attempt=%d next_in_s=%.1f error=%s",
            self.request.uri, self._attempt, wait_seconds, error,
        )  # fmt: skip
        # What is here runs, also when nobody can say whether there is something newer.
        state = ImageState.READY if self.present is not None else ImageState.RETRYING
        self._report(
            ImageUpdate(
                state,
                attempt=self._attempt,
                retry_at=time.time() + wait_seconds,
                error=error,
                image=self.present,
                digest=self.present_digest,
            )
        )

    @property
    def present_digest(self) -> str | None:
        """The manifest digest of the image that is here."""
        return self.present.digest_of(self.request.reference) if self.present else None

    def begin_pull(self) -> None:
        """An attempt has begun that asks the registry."""
        log.info("pulling image=%s attempt=%d", self.request.uri, self._attempt)
        self._last = None
        self.progressed(Progress(Stage.RESOLVING, 0, 0, 0))

    def progressed(self, now: Progress) -> None:
        """Reports progress, if there is any."""
        if now != self._last:
            self._last = now
            self._report(ImageUpdate(ImageState.PULLING, attempt=self._attempt, progress=now))

    def ready(self, image: LocalImage) -> ImageUpdate:
        """The last update of an image that is here."""
        seconds = time.monotonic() - self._began
        digest = self.request.reference.digest or image.digest_of(self.request.reference)
        log.info(
            "ready image=%s digest=%s attempts=%d seconds=%.1f",
            self.request.uri, digest, self._attempt, seconds,
        )  # fmt: skip
        return ImageUpdate(
            ImageState.READY,
            attempt=self._attempt,
            digest=digest,
            image=image,
            duration_seconds=seconds,
        )

    def failed(self, error: DockermgrError) -> ImageUpdate:
        """The last update of an image that will not come, or of one that is here and stays unchecked."""
        log.error("failed image=%s attempts=%d error=%s", self.request.uri, self._attempt, error)
        # Attempts that ran out make an image that is here no worse than the first of them did.
        present = (self.present if error.retryable else None) or self.fallback
        return ImageUpdate(
            ImageState.FAILED if present is None else ImageState.READY,
            attempt=self._attempt,
            error=error,
            image=present,
            digest=present.digest_of(self.request.reference) if present is not None else None,
            duration_seconds=time.monotonic() - self._began,
        )
