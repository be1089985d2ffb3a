"""Before a pull: whether the image fits on the engine's disk beside the other pulls under way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from dockermgr.credentials import Credential
from dockermgr.errand import Errand
from dockermgr.errors import DockermgrError
from dockermgr.image import ImageRequest
from dockermgr.manifest import Manifest, ManifestUnavailable, fetch_diff_ids, fetch_manifest
from dockermgr.space import check_space, is_ample, needed_bytes, present_layers

log = logging.getLogger(__name__)


class Disk(Protocol):
    """What is asked of the engine."""

    def free_bytes(self) -> int | None: ...

    def layer_chains(self) -> list[list[str]]: ...


class SpaceCheck:
    """Counts what is promised to pulls under way, so that they do not all count on the same space."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._lock = threading.Lock()
        self._claimed_bytes = 0
        self.min_free_bytes = 0

    @contextmanager
    def claimed(
        self, request: ImageRequest, errand: Errand, credential: Credential | None, platform: str
    ) -> Iterator[None]:
        """Within, the image's space is set aside. Raises DISK_SPACE_CRITICAL, before any download.

        `request` is the errand's own, or the same image at a mirror.

        What cannot be known is no reason not to pull: the engine says when its disk is full.
        """
        needed = self._claim(request, errand, credential, platform)
        try:
            yield
        finally:
            with self._lock:
                self._claimed_bytes -= needed

    def _claim(
        self, request: ImageRequest, errand: Errand, credential: Credential | None, platform: str
    ) -> int:
        free = self._disk.free_bytes()
        # With plenty of room the registry is not asked: each question costs round trips, and counts.
        if free is None or is_ample(free - self._claimed_bytes, self.min_free_bytes):
            return 0
        where = (request.reference, request.registry, credential)
        try:
            manifest = fetch_manifest(*where, platform, cancellation=errand.cancellation)
            if _is_here(errand, manifest):
                return 0
            try:
                return self._set_aside(request.uri, manifest)
            except DockermgrError:
                # It is tight: what is here already counts, though finding out is a question for each image.
                diff_ids = fetch_diff_ids(*where, manifest, cancellation=errand.cancellation)
                have = present_layers(manifest, diff_ids, self._disk.layer_chains())
                return self._set_aside(request.uri, manifest, have)
        except ManifestUnavailable as error:
            errand.cancellation.check()
            log.info("no check of the space image=%s reason=%s", request.uri, error)
            return 0

    def _set_aside(self, image: str, manifest: Manifest, have: Collection[str] = ()) -> int:
        needed = needed_bytes(manifest, have)
        with self._lock:
            check_space(
                image,
                manifest,
                free_bytes=self._disk.free_bytes(),
                min_free_bytes=self.min_free_bytes,
                claimed_bytes=self._claimed_bytes,
                present_layers=have,
            )
            self._claimed_bytes += needed
        return needed


def _is_here(errand: Errand, manifest: Manifest) -> bool:
    """Asked for again (Always), and there is nothing newer."""
    return errand.present is not None and errand.present_digest == manifest.digest
