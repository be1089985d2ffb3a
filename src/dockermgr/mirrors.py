"""Mirrors: other places that have a registry's repositories, asked before the registry itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from dockermgr.config import RetryConfig
from dockermgr.errand import Errand
from dockermgr.errors import ENGINE_CODES, DockermgrError, ErrorCode
from dockermgr.gates import Gates
from dockermgr.image import ImageRequest
from dockermgr.images import LocalImage
from dockermgr.reference import Reference
from dockermgr.registry import classify

log = logging.getLogger(__name__)

_NO_BETTER_ELSEWHERE = ENGINE_CODES | {ErrorCode.DISK_SPACE_CRITICAL}


class Names(Protocol):
    """What is asked of the engine."""

    def inspect(self, reference: Reference) -> LocalImage | None: ...

    def untag(self, reference: Reference) -> None: ...


class Mirrors:
    """Gets an image's layers from a mirror. Its own name it gets by being pulled from its registry."""

    def __init__(self, engine: Names, gates: Gates) -> None:
        self._engine = engine
        self._gates = gates

    def get(
        self,
        errand: Errand,
        mirrors: Sequence[str],
        digest: str | None,
        pull: Callable[[ImageRequest], None],
        retry: RetryConfig,
    ) -> None:
        """Pulls from the first of `mirrors` that has the image: with `digest`, that very one.

        Mirrors are done without: one that failed is left out while its gate is closed. Raises what is
        no mirror's fault: the engine is away, its disk is full, or `Stopped`.
        """
        for mirror in mirrors:
            request = at_mirror(errand.request, mirror, digest)
            host = request.registry.host
            ticket = self._gates.try_enter(host)
            if ticket is None:
                continue
            try:
                ours = self._engine.inspect(request.reference) is None
                pull(request)
            except DockermgrError as error:
                if error.registry_wide:
                    self._gates.failed(host, ticket, error, retry)
                else:
                    self._gates.left(host, ticket)
                if error.code in _NO_BETTER_ELSEWHERE:
                    raise
                log.warning("going on without mirror=%s image=%s error=%s",
                            mirror, errand.request.uri, error)  # fmt: skip
            except BaseException:
                self._gates.left(host, ticket)
                raise
            else:
                self._gates.succeeded(host)
                errand.at_mirror = request.reference if ours else None
                log.info("layers came from mirror=%s image=%s", mirror, errand.request.uri)
                return

    def forget(self, errand: Errand) -> None:
        """The image has its own name now; the mirror's would keep it from ever being removed."""
        if errand.at_mirror is not None:
            try:
                self._engine.untag(errand.at_mirror)
            except DockermgrError as error:
                log.info("keeping a mirror's name image=%s error=%s", errand.request.uri, error)
            errand.at_mirror = None


def at_mirror(request: ImageRequest, mirror: str, digest: str | None) -> ImageRequest:
    """The same image as `mirror` (`host[:port][/path]`) calls it."""
    reference = request.reference
    host, _, path = mirror.partition("/")
    repository = f"{path}/{reference.repository}" if path else reference.repository
    there = Reference(host, repository, None if digest else reference.effective_tag, digest)
    return replace(request, reference=there, registry=classify(host))
