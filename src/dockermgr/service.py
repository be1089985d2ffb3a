"""The component's life: read the configuration, bring the images, report, follow changes, stop.

One thread runs the loop and owns all that is here; everybody else puts events into its queue.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

from dockermgr import disk
from dockermgr.config import Config
from dockermgr.desired import Desired, DesiredSource
from dockermgr.engine import Engine
from dockermgr.engine_containers import Containers
from dockermgr.engine_watch import EngineWatch
from dockermgr.errors import DockermgrError, ErrorCode, ExitCode
from dockermgr.handover import hand_over
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.images import LocalImages
from dockermgr.ipc import NucleusLink
from dockermgr.jobs import Job
from dockermgr.listing import Listing
from dockermgr.loop import Loop
from dockermgr.nucleus import Lifecycle, NucleusUnavailable
from dockermgr.orphans import Orphans
from dockermgr.puller import Puller
from dockermgr.reader import Problem
from dockermgr.reconcile import Wanted, fingerprint, plan
from dockermgr.reporter import Identity, Reporter
from dockermgr.state import State
from dockermgr.status import EngineStatus

log = logging.getLogger(__name__)

COALESCE_SECONDS = 0.3
"""Lite sends one event for each leaf that changed: wait until they have come."""
COALESCE_LIMIT_SECONDS = 2.0
"""But apply at least that often while changes keep coming."""
READ_AGAIN_SECONDS = 2.0
REFUSALS_LIMIT = 5
"""A nucleus that is just starting refuses what it hands over seconds later; one that refuses this
often in a row means it."""
SUMMARY_INTERVAL_SECONDS = 1.0
SECOND_LOOK_SECONDS = 3600.0
"""What failed for good is looked at again this often: a role's policy is mended elsewhere, an image
pushed late."""
_HERE_TO_MEND = frozenset(
    {
        ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID,
        ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID,
        ErrorCode.REGISTRY_NOT_ALLOWED,
    }
)
"""Only a changed configuration mends these."""
FLUSH_SECONDS = 1.0
"""SIGTERM is to end the service within 2 s."""


class Service:
    """Runs until `stop`, or until a first configuration proves wrong."""

    def __init__(
        self, identity: Identity, engine: Engine, puller: Puller, state: State, home: Path
    ) -> None:
        self._identity = identity
        self._engine = engine
        self._puller = puller
        self._state = state
        self._home = home
        self._loop = Loop()
        self._jobs: dict[Wanted, Job] = {}
        self._config: Config | None = None
        self._problems: tuple[Problem, ...] = ()
        self._complete = True
        self._refusals = 0
        self._changes_since: float | None = None
        self._engine_status = EngineStatus()
        self._running = False
        self._exit_code: int | None = None
        self._started_at = time.monotonic()

    # Called by the nucleus link and by the signal handler, on their threads.

    def on_connected(self) -> None:
        """A new connection: nothing is subscribed on it, and nothing was said."""
        self._loop.put(self._begin_connection)

    def on_configuration_changed(self, component: str | None) -> None:
        """Something in that component's configuration changed."""
        log.debug("configuration changed component=%s", component)
        self._loop.put(self._note_change)

    def on_status_requested(self) -> None:
        """Somebody wants to know."""
        self._loop.put(self._say_all)

    def stop(self) -> None:
        """Ends the service; `run` returns soon after."""
        self._loop.put(lambda: self._end(ExitCode.DONE))

    def run(self, link: NucleusLink) -> int:
        """Serves until stopped. Returns the exit code."""
        self._link = link
        self._source = DesiredSource(link, self._identity.component)
        self._reporter = Reporter(self._identity, link, self._home)
        orphans = Orphans(Containers(self._engine.base_url))
        watch = EngineWatch(
            self._engine,
            on_status=lambda status: self._loop.put(lambda: self._engine_is(status)),
            on_removals=lambda: self._loop.put(
                lambda: self._loop.at(self._due_presence, COALESCE_SECONDS)
            ),
            on_containers=orphans.look,
        )
        orphans.start()
        watch.start()
        link.start()
        while self._exit_code is None:
            try:
                self._loop.step()
            except Exception:  # the manager must not crash: its dependents would be restarted
                log.exception("a step of the service failed; going on")
        for job in self._jobs.values():
            job.cancel()
        watch.stop()
        orphans.stop()
        link.stop(FLUSH_SECONDS)
        self._state.close()
        return self._exit_code

    def _end(self, code: int) -> None:
        if self._exit_code is None:
            self._exit_code = code

    # Configuration

    def _begin_connection(self) -> None:
        try:
            self._source.follow()
        except NucleusUnavailable as error:
            log.warning("cannot follow the configuration, trying again error=%s", error)
            self._loop.at(self._due_connection, READ_AGAIN_SECONDS)
            return
        self._due_configuration()
        if self._running:
            self._link.update_state(Lifecycle.RUNNING)
        self._say_all()

    def _due_connection(self) -> None:
        self._begin_connection()

    def _note_change(self) -> None:
        now = time.monotonic()
        if self._changes_since is None:
            self._changes_since = now
        due = min(now + COALESCE_SECONDS, self._changes_since + COALESCE_LIMIT_SECONDS)
        self._loop.move(self._due_configuration, due)

    def _due_configuration(self) -> None:
        self._changes_since = None
        try:
            desired = self._source.read()
        except NucleusUnavailable as error:
            log.warning("cannot read the configuration, trying again error=%s", error)
            self._loop.at(self._due_configuration, READ_AGAIN_SECONDS)
            return
        self._refusals = self._refusals + 1 if desired.refused else 0
        if 0 < self._refusals < REFUSALS_LIMIT:
            self._loop.at(self._due_configuration, READ_AGAIN_SECONDS)
            if self._config is None:
                log.warning("the nucleus does not hand the configuration over yet, trying again")
                return
        for problem in desired.problems:
            if problem not in self._problems:
                log.error("COMPONENT_CONFIGURATION_NOT_VALID %s", problem)
        self._problems = desired.problems
        if desired.complete or self._config is None:
            self._apply(desired)
        else:
            # What cannot be read is not what somebody wants removed: the old configuration stays.
            self._loop.at(self._due_summary, 0)

    def _apply(self, desired: Desired) -> None:
        before, config = self._config, desired.config
        first = before is None
        self._config = config
        self._complete = desired.complete
        self._puller.configure(config)
        hand_over(self._home, desired.raw)
        self._reporter.configure(config.status)
        actions = plan(self._jobs, desired.images)
        for wanted in actions.stop:
            log.info("no longer wanted image=%s component=%s", wanted.uri, wanted.component)
            self._jobs.pop(wanted).cancel()
            self._reporter.forget(wanted)
        listing = Listing(self._engine)
        # What failed for good may have failed because of what was changed now: a password, a list.
        again = (
            [item for item in actions.keep if self._has_failed(item)] if config != before else []
        )
        for wanted in (*actions.start, *again):
            self._begin(wanted, listing)
        if first:
            remaining = self._started_at + config.startup.wait_seconds - time.monotonic()
            self._loop.at(self._due_startup, max(0.0, remaining))
            self._loop.at(self._due_heartbeat, config.status.heartbeat_seconds)
            self._loop.at(self._due_second_look, SECOND_LOOK_SECONDS)
        if first or actions.start or actions.stop:
            log.info(
                "configuration applied images=%d new=%d gone=%d problems=%d",
                len(self._jobs), len(actions.start), len(actions.stop), len(self._problems),
            )  # fmt: skip
        if self._running:
            # A device that once ran with this configuration does not lose its manager over it.
            self._state.record_running(self._fingerprint())
        self._loop.at(self._due_summary, 0)
        self._evaluate()

    def _begin(self, wanted: Wanted, listing: Listing) -> None:
        job = self._jobs[wanted] = Job(wanted, self._tell)
        job.start(self._puller, listing, self._config.pull_policy if self._config else None)

    def _due_second_look(self) -> None:
        self._loop.at(self._due_second_look, SECOND_LOOK_SECONDS)
        listing = Listing(self._engine)
        for wanted, job in list(self._jobs.items()):
            error = job.update.error
            if self._has_failed(wanted) and error and error.code not in _HERE_TO_MEND:
                self._begin(wanted, listing)

    def _has_failed(self, wanted: Wanted) -> bool:
        return self._jobs[wanted].update.state is ImageState.FAILED

    def _fingerprint(self) -> str:
        return fingerprint(self._jobs)

    # Lifecycle

    def _evaluate(self) -> None:
        """Until RUNNING: whether it is time to say so, or to give this configuration up."""
        if self._running or self._config is None:
            return
        required = [job for job in self._jobs.values() if job.wanted.spec.required]
        failed = [job for job in required if job.update.state is ImageState.FAILED]
        if (
            (failed or not self._complete)
            and self._config.startup.fail_on_error
            and not self._state.has_run(self._fingerprint())
        ):
            for job in failed:
                log.error("giving up: a required image failed image=%s", job.wanted.uri)
            self._due_summary()
            self._link.update_state(Lifecycle.ERRORED)
            self._end(ExitCode.FAILED)
        elif all(job.settled for job in required):
            self._become_running()

    def _due_startup(self) -> None:
        if not self._running and self._exit_code is None:
            log.warning("reporting RUNNING while images are still on their way")
            self._become_running()

    def _become_running(self) -> None:
        self._running = True
        log.info("running seconds=%.1f", time.monotonic() - self._started_at)
        self._link.update_state(Lifecycle.RUNNING)
        self._state.record_running(self._fingerprint())

    # Reports

    def _tell(self, job: Job, update: ImageUpdate) -> None:
        self._loop.put(lambda: self._image_changed(job, update))

    def _image_changed(self, job: Job, update: ImageUpdate) -> None:
        if self._jobs.get(job.wanted) is not job:  # another one has taken its place
            return
        job.hear(update)
        self._reporter.image(job.wanted, update)
        self._pace_cloud()
        self._loop.at(self._due_word, SUMMARY_INTERVAL_SECONDS)
        if update.state is not ImageState.PULLING or update.progress is None:
            self._loop.at(self._due_summary, SUMMARY_INTERVAL_SECONDS)
            self._evaluate()

    def _due_summary(self) -> None:
        if self._config is not None:
            states = [job.update.state for job in self._jobs.values()]
            engine = self._engine_status
            if engine.data_root:
                engine = replace(engine, free_bytes=disk.free_bytes(engine.data_root))
            self._reporter.summary(states, engine, self._problems)
            self._pace_cloud()
            self._loop.at(self._due_word, 0)

    def _due_word(self) -> None:
        self._reporter.leave_word()

    def _due_heartbeat(self) -> None:
        # Lite forgets the subscription to a key that a deployment resets: look for ourselves, too.
        self._due_configuration()
        if self._config is not None:
            self._loop.at(self._due_heartbeat, self._config.status.heartbeat_seconds)
        self._due_summary()

    def _say_all(self) -> None:
        for wanted, job in self._jobs.items():
            self._reporter.image(wanted, job.update)
        self._due_summary()

    def _pace_cloud(self) -> None:
        if self._reporter.cloud_waits and not self._loop.waits_for(self._due_cloud):
            self._loop.at(self._due_cloud, 0)

    def _due_cloud(self) -> None:
        if self._reporter.cloud_waits and self._config is not None:
            self._reporter.send_to_cloud()
            # Also when nothing else waits, so that the next one keeps its distance.
            self._loop.at(self._due_cloud, self._config.status.min_interval_seconds)

    # The engine

    def _engine_is(self, status: EngineStatus) -> None:
        self._engine_status = status
        if status.error is not None:
            log.warning("the engine is away error=%s", status.error)
        self._loop.at(self._due_summary, 0)

    def _due_presence(self) -> None:
        """Whether what is READY is still there; the engine is asked on a thread of its own."""
        ready = [wanted for wanted, job in self._jobs.items() if job.reference is not None]
        if ready:
            threading.Thread(target=self._look, args=(ready,), name="presence", daemon=True).start()

    def _look(self, ready: list[Wanted]) -> None:
        try:
            images = self._engine.images()
        except DockermgrError as error:
            log.info("cannot look for removed images now error=%s", error)
            return
        self._loop.put(lambda: self._pull_again(ready, images))

    def _pull_again(self, ready: list[Wanted], images: LocalImages) -> None:
        for wanted in ready:
            job = self._jobs.get(wanted)
            if job is None or job.reference is None or images.find(job.reference) is not None:
                continue
            log.warning("somebody removed it, pulling again image=%s", wanted.uri)
            self._reporter.image(wanted, ImageUpdate(ImageState.REMOVED))
            job.cancel()
            self._begin(wanted, Listing(self._engine))
