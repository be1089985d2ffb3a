"""The way of one image: needed? → allowed? → credentials → pull → verify → record, retried as errors say."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from dockermgr.cancellation import Cancellation
from dockermgr.config import Config
from dockermgr.context import in_context
from dockermgr.credentials import Credentials
from dockermgr.errand import Errand, Report
from dockermgr.errors import ENGINE_CODES, DockermgrError, ErrorCode, Retry
from dockermgr.gates import Gates, Ticket
from dockermgr.image import ImageRequest, ImageUpdate
from dockermgr.images import LocalImage
from dockermgr.listing import Listing
from dockermgr.locks import ImageLocks
from dockermgr.manifest import ManifestUnavailable, fetch_manifest
from dockermgr.mirrors import Mirrors
from dockermgr.policy import PullPolicy, check_allowed
from dockermgr.progress import Progress
from dockermgr.proxies import Proxies, with_ways
from dockermgr.pulling import Engine, Pull
from dockermgr.refusal import explained
from dockermgr.slots import Slots
from dockermgr.space_check import SpaceCheck
from dockermgr.watchdog import Watchdog, Watched

log = logging.getLogger(__name__)

ENGINE_GATE = "the engine"
CHECK_SECONDS = 10.0
"""An image that is here is not held up for longer by the question whether there is a newer one."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered beyond this process; each answers at once and never raises."""

    record: Callable[[ImageRequest, LocalImage], None]
    is_ours: Callable[[str], bool]
    """Whether an image of that id was pulled, and so looked at, by us."""
    was_reached: Callable[[str], bool]
    """Whether something ever came from that registry's host."""


class Puller:
    """Brings images here, any number at once, up to `maxConcurrentPulls` of them pulling."""

    def __init__(
        self,
        engine: Engine,
        credentials: Credentials,
        memory: Memory,
        locks: ImageLocks,
        proxies: Proxies | None = None,
    ) -> None:
        """`proxies`: what this process reaches AWS through."""
        self._engine = engine
        self._credentials = credentials
        self._memory = memory
        self._locks = locks
        self._proxies = proxies or Proxies()
        self._platform: str | None = None
        self._space = SpaceCheck(engine)
        self._watchdog = Watchdog()
        self._gates = Gates()
        self._mirrors = Mirrors(engine, self._gates)
        self._slots = Slots(Config().max_concurrent_pulls)
        self.configure(Config())

    def configure(self, config: Config) -> None:
        """Counts for attempts that begin from now on."""
        self._config = config
        self._space.min_free_bytes = config.min_free_bytes
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
        self._ask_engine(errand, listing)
        if errand.present is not None and request.policy is not PullPolicy.ALWAYS:
            return errand.ready(errand.present)
        if request.policy is PullPolicy.NEVER:
            raise DockermgrError(
                ErrorCode.DOCKER_IMAGE_NOT_VALID,
                f"{request.reference} is not on this device, and its pull policy is Never",
                hint="load it (dockermgr load), or choose another pull policy",
            )
        image = self._pull_when_due(errand)
        self._memory.record(request, image)
        return errand.ready(image)

    def _ask_engine(self, errand: Errand, listing: Listing) -> None:
        """Finds out what is here; an engine that is away is asked by one image for all."""
        ticket = self._gates.enter(ENGINE_GATE, errand.cancellation, errand.still_waiting)
        try:
            if ticket.first:
                self._engine.platform()
                self._gates.succeeded(ENGINE_GATE)
            if errand.present is None:
                errand.present = self._present(errand, listing)
        except DockermgrError as error:
            errand.gate_wait = self._gates.failed(ENGINE_GATE, ticket, error, self._config.retry)
            raise
        except BaseException:
            self._gates.left(ENGINE_GATE, ticket)
            raise

    def _present(self, errand: Errand, listing: Listing) -> LocalImage | None:
        request = errand.request
        found = listing.find(request.reference)
        if found is None or (request.platform is None and self._memory.is_ours(found.image_id)):
            return found
        fitting = self._present_now(request)
        if fitting is None and request.platform is None:
            # Of another architecture, perhaps on purpose: better than none.
            if request.policy is PullPolicy.NEVER:
                return found
            errand.fallback = found
        return fitting

    def _present_now(self, request: ImageRequest) -> LocalImage | None:
        """Asks for this one image: a listing does not say the platform."""
        found = self._engine.inspect(request.reference)
        return found if found is not None and found.fits(self._wanted_platform(request)) else None

    def _wanted_platform(self, request: ImageRequest) -> str:
        if request.platform is not None:
            return request.platform
        if self._platform is None:
            self._platform = self._engine.platform()
        return self._platform

    def _pull_when_due(self, errand: Errand) -> LocalImage:
        """Waits for the registry's gate and for a slot, and tells the gate how it went."""
        host = errand.request.registry.host
        ticket = self._gates.enter(host, errand.cancellation, errand.still_waiting)
        try:
            with self._slots.one(errand.cancellation):
                image = self._pull_alone(errand)
        except DockermgrError as error:
            error = self._explained(error, errand)
            if error.code in ENGINE_CODES:
                self._gates.left(host, ticket)
                entry = Ticket(ticket.entered_at, first=False)
                errand.gate_wait = self._gates.failed(ENGINE_GATE, entry, error, self._config.retry)
            elif error.registry_wide and not errand.heard_of:
                errand.gate_wait = self._gates.failed(host, ticket, error, self._config.retry)
            else:
                self._gates.succeeded(host)
            raise error from None
        except BaseException:  # Stopped, or a defect of ours: the others must not wait for this one
            self._gates.left(host, ticket)
            raise
        self._gates.succeeded(host)
        return image

    def _pull_alone(self, errand: Errand) -> LocalImage:
        """Unless another process of the manager is at it: then its result is ours."""
        request = errand.request
        name = f"{request.reference} {request.platform}"
        with self._locks.hold(name, errand.cancellation) as waited:
            if waited and (pulled := self._present_now(request)) is not None:
                before = errand.present.image_id if errand.present is not None else None
                if pulled.image_id != before:
                    return pulled
            errand.begin_pull()
            return self._pull(errand)

    def _explained(self, error: DockermgrError, errand: Errand) -> DockermgrError:
        """What the engine's words mean, given what the registry says, and what is known of it."""
        request = self._as_configured(errand.request)
        host = request.registry.host
        platform = request.platform or self._platform or ""
        error = explained(error, request, errand.credential, platform, errand.cancellation)
        error = in_context(
            self._credentials.explained(error, host),
            request.registry,
            reached=self._memory.was_reached(host),
            insecure=request.registry.insecure,
        )
        if error.code is ErrorCode.NETWORK_ERROR:
            with contextlib.suppress(DockermgrError):
                # The engine has proxy settings of its own, which nothing keeps the same.
                return with_ways(error, host, self._proxies, self._engine.proxies())
        return error

    def _pull(self, errand: Errand) -> LocalImage:
        with self._watchdog.watch(lambda: errand.still_waiting(_no_answer(errand), 0)) as patience:

            def expect_news() -> None:
                if errand.present is not None:
                    patience.expect_within(CHECK_SECONDS, "news")

            expect_news()
            if errand.at_mirror is None:
                self._pull_from_mirror(errand, patience)
                expect_news()

            def progressed(now: Progress) -> None:
                if not errand.heard_of:
                    errand.heard_of = True
                    patience.expect_within(0, "")
                    # It answers: nobody need wait for the end of this pull.
                    self._gates.succeeded(errand.request.registry.host)
                errand.progressed(now)

            image = self._pull_with_fresh_credentials(errand.request, errand, progressed)
        self._mirrors.forget(errand)
        return image

    def _pull_from_mirror(self, errand: Errand, patience: Watched) -> None:
        def pull(request: ImageRequest) -> None:
            self._pull_with_fresh_credentials(request, errand, progressed)

        def progressed(now: Progress) -> None:
            patience.expect_within(0, "")
            errand.progressed(now)

        host = errand.request.registry.host
        if mirrors := self._config.registry(host).mirrors:
            digest = errand.request.reference.digest or self._digest_at_registry(errand)
            if digest is None or digest != errand.present_digest:
                self._mirrors.get(errand, mirrors, digest, pull, self._config.retry)

    def _digest_at_registry(self, errand: Errand) -> str | None:
        """What the registry itself means by the tag, so that a stale mirror costs no download."""
        request = self._as_configured(errand.request)
        try:
            manifest = fetch_manifest(
                request.reference,
                request.registry,
                self._credentials.sign_in(request.registry),
                self._wanted_platform(request),
                cancellation=errand.cancellation,
            )
        except ManifestUnavailable as error:
            errand.cancellation.check()
            log.info("asking mirrors for the tag image=%s reason=%s", request.uri, error)
            return None
        return manifest.digest

    def _pull_with_fresh_credentials(
        self, request: ImageRequest, errand: Errand, progressed: Callable[[Progress], None]
    ) -> LocalImage:
        """A token that is refused is replaced once."""
        request = self._as_configured(request)
        registry = request.registry
        platform = self._wanted_platform(request)
        errand.credential = None  # a mirror's is for nobody else
        errand.credential = credential = self._credentials.sign_in(registry)
        pull = Pull(self._engine, self._watchdog, self._config.timeouts, errand.cancellation)
        try:
            with self._space.claimed(request, errand, credential, platform):
                return pull.run(request, credential, progressed)
        except DockermgrError as error:
            if credential is None or not error.credentials_refused:
                raise
            if not self._credentials.refused(registry, credential):
                raise
        errand.credential = self._credentials.sign_in(registry)
        return pull.run(request, errand.credential, progressed)

    def _as_configured(self, request: ImageRequest) -> ImageRequest:
        insecure = self._config.registry(request.registry.host).insecure
        return replace(request, registry=replace(request.registry, insecure=insecure))


def _no_answer(errand: Errand) -> DockermgrError:
    return DockermgrError(
        ErrorCode.NETWORK_ERROR,
        f"{errand.request.registry.host} has not answered for {CHECK_SECONDS:g} s",
        hint="the image that is here is used; whether there is a newer one is still being asked",
        retry=Retry.UNTIL_MENDED,
    )
