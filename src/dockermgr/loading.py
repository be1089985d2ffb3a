"""The way of one archive: there already? → looked at and summed as it passes → engine → named, remembered."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from dockermgr.archive import BLOCK, Archive, read_archive
from dockermgr.cancellation import Cancellation
from dockermgr.compression import is_compressed
from dockermgr.config import Config
from dockermgr.errand import Report
from dockermgr.errors import ENGINE_CODES, DockermgrError, ErrorCode, Retry
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.images import LocalImage
from dockermgr.locks import ImageLocks
from dockermgr.names import Names, NamingEngine
from dockermgr.passage import LoadStream, Passage
from dockermgr.progress import DOWNLOAD_SHARE, Progress, Stage
from dockermgr.reference import Reference
from dockermgr.retry import back_off_seconds, keep_trying
from dockermgr.s3 import S3Address, S3Object
from dockermgr.state import State
from dockermgr.stored import Changed, Stored, StoredFile
from dockermgr.watchdog import Watchdog

T = TypeVar("T")

_MEGABYTE = 1_000_000


class Engine(NamingEngine, Protocol):
    """What loading needs of the engine."""

    def free_bytes(self) -> int | None: ...

    def load(self) -> LoadStream: ...


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants loaded; `sha256` in hexadecimal is that of the file as it is stored."""

    place: Path | S3Address
    sha256: str = ""
    tag: Reference | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The images of the archive, and whether they were there before."""

    images: tuple[LocalImage, ...]
    already: bool


class _AlreadyThere(Exception):  # noqa: N818  # not an error: it ends a load that has become needless
    def __init__(self, images: tuple[LocalImage, ...]) -> None:
        super().__init__()
        self.images = images


class Load:
    """One order. `run` blocks until its images are here; raises a typed error otherwise, or `Stopped`."""

    def __init__(
        self,
        order: Order,
        engine: Engine,
        state: State,
        locks: ImageLocks,
        config: Config,
        report: Report,
        cancellation: Cancellation,
    ) -> None:
        self._order = order
        self._engine = engine
        self._names = Names(engine)
        self._state = state
        self._locks = locks
        self._config = config
        self._report = report
        self._cancellation = cancellation
        self._attempts = 0
        self._percent = -1

    def run(self) -> Loaded:
        """Tries for as long as an error is worth it, and reports how it gets on."""
        began = time.monotonic()
        loaded = self._keep_trying(self._attempt)
        first = loaded.images[0]
        self._report(
            ImageUpdate(
                ImageState.READY,
                attempt=self._attempts,
                image=replace(first, size_bytes=sum(one.size_bytes for one in loaded.images)),
                duration_seconds=time.monotonic() - began,
            )
        )
        return loaded

    def _keep_trying(self, work: Callable[[], T]) -> T:
        config = self._config.retry

        def wait_seconds(error: DockermgrError, failures: int) -> float:
            return back_off_seconds(failures, config, retry_after_seconds=error.retry_after_seconds)

        def will_retry(error: DockermgrError, wait_seconds: float) -> None:
            retry_at = time.time() + wait_seconds
            self._percent = -1
            self._report(
                ImageUpdate(ImageState.RETRYING, self._attempts, retry_at=retry_at, error=error)
            )

        return keep_trying(
            work, config, wait=wait_seconds, sleep=self._cancellation.wait, on_failure=will_retry
        )

    def _keep_reading(self, work: Callable[[], T]) -> T:
        """A broken download is mended where it broke; what cannot be, ends the whole load."""
        try:
            return self._keep_trying(work)
        except DockermgrError as error:
            raise error.but(retry=Retry.NEVER) from error

    def _attempt(self) -> Loaded:
        self._attempts += 1
        with contextlib.closing(self._open()) as stored:
            key = f"load {stored.identity}"
            try:
                with self._locks.hold(key, self._cancellation):
                    return self._bring(stored)
            except Changed as error:
                raise DockermgrError(
                    ErrorCode.ARTIFACT_CHECKSUM_MISMATCH,
                    str(error),
                    hint="it is read again from its beginning",
                    retry=Retry.LIMITED,
                ) from error

    def _open(self) -> Stored:
        if isinstance(self._order.place, Path):
            return StoredFile(self._order.place)
        return S3Object(self._order.place, self._keep_reading)

    def _bring(self, stored: Stored) -> Loaded:
        known = self._recorded(stored.identity)
        images = self._present(known) if known else None
        if images:
            return Loaded(images, already=True)
        if not is_compressed(stored.read_at(0, BLOCK)):
            archive = read_archive(stored.read_at)
            if images := self._present(archive):
                return Loaded(images, already=True)
        self._check_space(stored)
        try:
            return self._load(stored)
        except _AlreadyThere as there:
            return Loaded(there.images, already=True)

    def _present(self, archive: Archive) -> tuple[LocalImage, ...] | None:
        """The archive's images, when all of them are here under all of their names.

        A name alone is given to an image that is here, unless a checksum has to speak for it first.
        """
        if self._order.tag and archive.count != 1:
            raise DockermgrError(
                ErrorCode.DOCKER_IMAGE_NOT_VALID,
                f"the archive holds {archive.count} images, and a tag is for one",
                hint="leave --tag out, or save the image alone",
            )
        known = self._recorded(_content_key(archive))
        for ids in (archive.configs, archive.manifests, known.configs if known else ()):
            found = [self._engine.find(image_id) for image_id in ids]
            images = {image.image_id: image for image in found if image}
            if images and all(found):
                break
        else:
            return None
        missing = self._names.missing(self._wanted(archive), images)
        if missing and (self._order.sha256 or len(images) > 1):
            return None
        return self._names.give(missing, tuple(images.values()))

    def _wanted(self, archive: Archive) -> list[str]:
        return [*archive.tags, *([str(self._order.tag)] if self._order.tag else [])]

    def _check_space(self, stored: Stored) -> None:
        free, reserve = self._engine.free_bytes(), self._config.min_free_bytes
        if free is not None and free - reserve < stored.size_bytes:
            conditions = f", {reserve / _MEGABYTE:.1f} MB must stay free (minFreeBytes)"
            raise DockermgrError(
                ErrorCode.DISK_SPACE_CRITICAL,
                f"the archive has {stored.size_bytes / _MEGABYTE:.1f} MB, "
                f"{free / _MEGABYTE:.1f} MB are free on the engine's disk"
                + (conditions if reserve else ""),
                hint="free some space on the disk that holds the engine's data (docker system df)",
                retry=Retry.LIMITED,
            )

    def _load(self, stored: Stored) -> Loaded:
        def approve(archive: Archive) -> None:
            if images := self._present(archive):
                raise _AlreadyThere(images)
            self._names.hold(archive.tags)
            self._percent = -1
            self._show(Stage.EXTRACTING, stored.size_bytes, stored.size_bytes)

        def on_read(count: int) -> None:
            self._cancellation.check()
            self._show(Stage.DOWNLOADING, count, stored.size_bytes)

        passage = Passage(
            stored,
            sha256=self._order.sha256,
            stall_seconds=self._config.timeouts.extract_stall_seconds,
            approve=approve,
            on_read=on_read,
        )
        stream = self._engine.load()
        try:
            with contextlib.closing(stream), Watchdog().watch(stream.abort) as watched:
                said = passage.into(stream, watched)
        except DockermgrError as error:
            if passage.complete and error.code not in ENGINE_CODES:
                self._names.restore()
            raise
        finally:
            self._names.release()
        return self._take(stored, passage.archive, said)

    def _show(self, stage: Stage, count: int, size_bytes: int) -> None:
        percent = int(100 * DOWNLOAD_SHARE * count / size_bytes)
        if percent > self._percent:
            self._percent = percent
            now = Progress(stage, count, size_bytes, percent)
            self._report(ImageUpdate(ImageState.PULLING, self._attempts, progress=now))

    def _take(self, stored: Stored, archive: Archive, said: tuple[str, ...]) -> Loaded:
        """Looks up what the engine made of the archive, names it, and remembers it."""
        images = self._names.look_up((*archive.tags, *said, *archive.configs, *archive.manifests))
        if not images:
            raise DockermgrError(
                ErrorCode.DOCKER_IMAGE_NOT_VALID,
                "the engine took the archive and made no image of it",
                hint="the engine's own log (journalctl -u docker) may say why",
            )
        ids = [image.image_id for image in images]
        if archive.count == 1:
            # Podman calls what it loads `localhost/…`, and looks for it at Docker Hub.
            images = self._names.give(self._names.missing(self._wanted(archive), ids), images)
        content = json.dumps(
            {
                "count": archive.count,
                "tags": archive.tags,
                "ids": ids,
                "sha256": self._order.sha256,
            }
        )
        for key in filter(None, (stored.identity, _content_key(archive))):
            self._state.record_archive(key, content)
        return Loaded(images, already=False)

    def _recorded(self, key: str) -> Archive | None:
        """What became of an archive that was loaded before: an aid, the engine has the last word."""
        content = self._state.archive(key)
        try:
            found = json.loads(content) if content else None
            if not found or (self._order.sha256 and found["sha256"] != self._order.sha256):
                return None
            return Archive(found["count"], tuple(found["tags"]), tuple(found["ids"]), ())
        except (ValueError, LookupError, TypeError):
            return None


def _content_key(archive: Archive) -> str:
    """Engines with containerd's store make ids of their own for what others saved."""
    return " ".join(sorted(archive.configs or archive.manifests))
