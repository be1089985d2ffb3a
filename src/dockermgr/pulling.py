"""One pull of the engine: watched for silence, followed to its end, and looked at afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from dockermgr.cancellation import Cancellation
from dockermgr.config import TimeoutConfig
from dockermgr.credentials import Credential
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.image import ImageRequest
from dockermgr.images import LocalImage, LocalImages
from dockermgr.progress import Progress, PullProgress
from dockermgr.proxies import Proxies
from dockermgr.reference import Reference
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

    def platform(self) -> str: ...

    def proxies(self) -> Proxies: ...

    def free_bytes(self) -> int | None: ...

    def layer_chains(self) -> list[list[str]]: ...

    def images(self) -> LocalImages: ...

    def inspect(self, reference: Reference) -> LocalImage | None: ...

    def untag(self, reference: Reference) -> None: ...

    def pull(self) -> PullStream: ...


class Pull:
    """One attempt. `run` blocks until the image is here; raises a typed error otherwise."""

    def __init__(
        self,
        engine: Engine,
        watchdog: Watchdog,
        timeouts: TimeoutConfig,
        cancellation: Cancellation,
    ) -> None:
        self._engine = engine
        self._watchdog = watchdog
        self._timeouts = timeouts
        self._cancellation = cancellation
        total = timeouts.total_seconds
        self._total_ends_at = time.monotonic() + total if total else None

    def run(
        self,
        request: ImageRequest,
        credential: Credential | None,
        on_progress: Callable[[Progress], None],
    ) -> LocalImage:
        """Tells `on_progress` after each event. Raises `Stopped` when cancelled."""
        progress = PullProgress()
        stream = self._engine.pull()
        with (
            self._watchdog.watch(stream.abort) as watched,
            self._cancellation.calling(stream.abort),
        ):
            self._expect(watched, self._timeouts.first_byte_seconds, "the first answer")
            said: dict[object, Mapping[str, object]] = {}
            try:
                for event in stream.events(request.reference, credential, request.platform):
                    progress.feed(event)
                    on_progress(progress.progress)
                    # containerd's store says the same of a layer ten times a second, bytes or not.
                    if said.get(event.get("id")) != event:
                        said[event.get("id")] = event
                        self._expect_next(watched, progress)
            except DockermgrError as error:
                self._cancellation.check()
                if watched.expired:
                    raise _stalled(request, watched) from error
                raise
            finally:
                stream.close()
        # An aborted stream may also look like one that ended.
        self._cancellation.check()
        if watched.expired:
            raise _stalled(request, watched)
        progress.finish()
        on_progress(progress.progress)
        return self._verified(request, progress)

    def _expect_next(self, watched: Watched, progress: PullProgress) -> None:
        timeouts = self._timeouts
        limit = timeouts.stall_seconds if progress.receiving else timeouts.extract_stall_seconds
        self._expect(watched, limit, f"more while {progress.progress.stage.value}")

    def _expect(self, watched: Watched, limit_seconds: float, what: str) -> None:
        watched.expect_within(limit_seconds, what)
        ends_at = self._total_ends_at
        if ends_at is not None and (watched.deadline is None or ends_at < watched.deadline):
            watched.deadline = ends_at
            watched.limit_seconds = self._timeouts.total_seconds
            watched.reason = "the whole image"

    def _verified(self, request: ImageRequest, progress: PullProgress) -> LocalImage:
        image = self._engine.inspect(request.reference)
        wanted = request.reference.digest
        if image is None:
            raise DockermgrError(
                ErrorCode.DOCKER_PULL_ERROR,
                f"the engine pulled {request.reference}, and it is gone",
                hint="something else on this device may be removing images",
                retry=Retry.LIMITED,
            )
        if wanted is not None and progress.digest not in {None, wanted}:
            raise DockermgrError(
                ErrorCode.IMAGE_DIGEST_MISMATCH,
                f"the engine pulled {progress.digest} for {request.reference}",
                hint="something between this device and the registry alters what is downloaded",
                retry=Retry.LIMITED,
            )
        if not image.fits(request.platform) and not self._is_one_of_several(image):
            raise DockermgrError(
                ErrorCode.IMAGE_PLATFORM_MISMATCH,
                f"{request.reference} is for {image.platform}, not for {request.platform}",
                hint="publish the image for that platform, or correct `platform`",
            )
        return image

    def _is_one_of_several(self, image: LocalImage) -> bool:
        """Whether the image may hold the wanted platform as well as the one that the engine tells.

        containerd's store (there an image's id is its digest) keeps the platforms of one name side by
        side, and tells of the machine's own where that is among them. The engine pulled the wanted one
        without an error, so it is there.
        """
        return image.named_by_manifest and image.fits(self._engine.platform())


def _stalled(request: ImageRequest, watched: Watched) -> DockermgrError:
    return DockermgrError(
        ErrorCode.PULL_STALLED,
        f"{request.reference}: waited {watched.limit_seconds:g} s for {watched.reason}",
        hint="a slow network or storage may need larger timeouts in the configuration",
        retry=Retry.UNTIL_MENDED,
    )
