"""The way of one image: needed? → allowed? → credentials → pull → verify → record, retried as errors say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from dockermgr.cancellation import Cancellation
from dockermgr.config import Config, TimeoutConfig
from dockermgr.credentials import Credential, Credentials
from dockermgr.errand import Errand, Report
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.image import ImageRequest, ImageUpdate
from dockermgr.images import LocalImage, LocalImages
from dockermgr.policy import PullPolicy, check_allowed
from dockermgr.progress import PullProgress, Stage
from dockermgr.reference import Reference
from dockermgr.singleflight import SingleFlight
from dockermgr.slots import Slots
from dockermgr.watchdog import Watchdog, Watched


class PullStream(Protocol):
    """One pull of the engine."""

    def events(
        self, reference: Reference, credential: Credential | None, platform: str | None
    ) -> Iterator[Mapping[str, object]]: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class Engine(Protocol):
    """What the way of an image needs of the engine."""

    def images(self) -> LocalImages: ...

    def inspect(self, reference: Reference) -> LocalImage | None: ...

    def pull(self) -> PullStream: ...


class Listing:
    """One listing of the engine for a whole batch of images; asked for at the first question."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._flights: SingleFlight[None, LocalImages] = SingleFlight()
        self._images: LocalImages | None = None

    def find(self, reference: Reference) -> LocalImage | None:
        """The image as of that listing. Raises what the engine raises."""
        return self.load().find(reference)

    def load(self) -> LocalImages:
        """Asks the engine, unless it was asked before. Raises what the engine raises."""
        if self._images is None:
            self._images = self._flights.run(None, self._engine.images)
        return self._images


Recorder = Callable[[ImageRequest, LocalImage], None]


class Puller:
    """Brings images here, any number at once, up to `maxConcurrentPulls` of them pulling."""

    def __init__(self, engine: Engine, credentials: Credentials, record: Recorder) -> None:
        self._engine = engine
        self._credentials = credentials
        self._record = record
        self._watchdog = Watchdog()
        self._slots = Slots(Config().max_concurrent_pulls)
        self.configure(Config())

    def configure(self, config: Config) -> None:
        """Counts for attempts that begin from now on."""
        self._config = config
        self._slots.resize(config.max_concurrent_pulls)
        self._credentials.configure(config.registries)

    def ensure(
        self,
        request: ImageRequest,
        listing: Listing,
        report: Report,
        cancellation: Cancellation,
    ) -> ImageUpdate:
        """Works until the image is READY or FAILED for good, telling `report` of each step.

        Raises `Stopped` when cancelled.
        """
        errand = Errand(request, report, cancellation, self._config.retry)
        try:
            check_allowed(
                request.reference,
                self._config.allowed_registries,
                require_digest=self._config.require_digest,
            )
            update = errand.until_done(lambda: self._attempt(errand, listing))
        except DockermgrError as error:
            update = errand.failed(error)
        report(update)
        return update

    def _attempt(self, errand: Errand, listing: Listing) -> ImageUpdate:
        request = errand.request
        if errand.present is None:
            errand.present = self._present(request, listing)
        if errand.present is not None and request.policy is not PullPolicy.ALWAYS:
            return errand.ready(errand.present)
        if request.policy is PullPolicy.NEVER:
            raise DockermgrError(
                ErrorCode.DOCKER_IMAGE_NOT_VALID,
                f"{request.reference} is not on this device, and its pull policy is Never",
                hint="load it (docker load), or choose another pull policy",
            )
        with self._slots.one(errand.cancellation):
            errand.begin_pull()
            image = self._pull(errand)
        self._record(request, image)
        return errand.ready(image)

    def _present(self, request: ImageRequest, listing: Listing) -> LocalImage | None:
        found = listing.find(request.reference)
        if found is not None and request.platform is not None:
            # A listing does not say the platform.
            found = self._engine.inspect(request.reference)
        return found if found is not None and found.fits(request.platform) else None

    def _pull(self, errand: Errand) -> LocalImage:
        registry = errand.request.registry
        credential = self._credentials.sign_in(registry)
        try:
            return self._pull_with(errand, credential)
        except DockermgrError as error:
            if not (error.credentials_refused and credential is not None):
                raise
            if not self._credentials.refused(registry, credential):
                raise
        return self._pull_with(errand, self._credentials.sign_in(registry))

    def _pull_with(self, errand: Errand, credential: Credential | None) -> LocalImage:
        request, timeouts = errand.request, self._config.timeouts
        progress = PullProgress()
        stream = self._engine.pull()
        total_ends_at = _deadline(timeouts.total_seconds)
        with (
            self._watchdog.watch(stream.abort) as watched,
            errand.cancellation.calling(stream.abort),
        ):
            watched.expect_within(timeouts.first_byte_seconds, "the first answer")
            try:
                for event in stream.events(request.reference, credential, request.platform):
                    progress.feed(event)
                    now = progress.progress
                    errand.progressed(now)
                    _expect_next(watched, now.stage, timeouts, total_ends_at)
            except DockermgrError as error:
                errand.cancellation.check()
                if watched.expired:
                    raise _stalled(request, watched) from error
                raise
            finally:
                stream.close()
        # An aborted stream may also look like one that ended.
        errand.cancellation.check()
        if watched.expired:
            raise _stalled(request, watched)
        return self._verified(request, progress)

    def _verified(self, request: ImageRequest, progress: PullProgress) -> LocalImage:
        image = self._engine.inspect(request.reference)
        wanted = request.reference.digest
        if image is None or (wanted is not None and progress.digest not in {None, wanted}):
            found = progress.digest if image is not None else "nothing"
            raise DockermgrError(
                ErrorCode.IMAGE_DIGEST_MISMATCH if wanted else ErrorCode.DOCKER_PULL_ERROR,
                f"the engine pulled {request.reference} and has {found}",
                hint="something else on this device may be removing images",
                retry=Retry.LIMITED,
            )
        if not image.fits(request.platform):
            raise DockermgrError(
                ErrorCode.IMAGE_PLATFORM_MISMATCH,
                f"{request.reference} is for {image.platform}, not for {request.platform}",
                hint="publish the image for that platform, or correct `platform`",
            )
        return image


def _deadline(limit_seconds: float) -> float | None:
    return time.monotonic() + limit_seconds if limit_seconds else None


def _expect_next(
    watched: Watched, stage: Stage, timeouts: TimeoutConfig, total_ends_at: float | None
) -> None:
    # Slow storage may extract for minutes without a word; a silent download is a dead connection.
    if stage in {Stage.RESOLVING, Stage.DOWNLOADING}:
        watched.expect_within(timeouts.stall_seconds, f"more while {stage.value}")
    else:
        watched.expect_within(timeouts.extract_stall_seconds, f"more while {stage.value}")
    if total_ends_at is not None and (watched.deadline is None or total_ends_at < watched.deadline):
        watched.deadline = total_ends_at
        watched.limit_seconds, watched.reason = timeouts.total_seconds, "the whole image"


def _stalled(request: ImageRequest, watched: Watched) -> DockermgrError:
    return DockermgrError(
        ErrorCode.PULL_STALLED,
        f"{request.reference}: waited {watched.limit_seconds:g} s for {watched.reason}",
        hint="a slow network or storage may need larger timeouts in the configuration",
        retry=Retry.UNTIL_MENDED,
    )
