"""The component's life: read the configuration, bring the images, report, follow changes, stop.

One thread runs the loop and owns all that is here; everybody else puts events into its queue.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from dockermgr import disk
from dockermgr.config import (
    CONFIGURATION_KEYS,
    Config,
    ImageSpec,
    parse_config,
    parse_dependent_images,
)
from dockermgr.engine import Engine
from dockermgr.errors import DockermgrError, ExitCode
from dockermgr.ipc import Lifecycle, NucleusRefused, NucleusUnavailable
from dockermgr.jobs import Job
from dockermgr.puller import ImageState, ImageUpdate, Listing, Puller
from dockermgr.reader import Problem
from dockermgr.reconcile import Wanted, desired_images, plan
from dockermgr.state import State
from dockermgr.status import EngineStatus, Message, Origin, image_message, summary_message

log = logging.getLogger(__name__)

COALESCE_SECONDS = 0.3
"""Lite sends one event for each leaf that changed: wait until they have come."""
COALESCE_LIMIT_SECONDS = 2.0
"""But apply at least that often while changes keep coming."""
READ_AGAIN_SECONDS = 2.0
SUMMARY_INTERVAL_SECONDS = 1.0
ENGINE_LOOK_SECONDS = 60.0
FLUSH_SECONDS = 1.0
"""SIGTERM is to end the service within 2 s."""


class Link(Protocol):
    """What the service needs of the nucleus."""

    def start(self) -> None: ...

    def stop(self, flush_seconds: float) -> None: ...

    def update_state(self, state: Lifecycle) -> None: ...

    def publish(self, topic: str, message: Mapping[str, object], *, key: str) -> None: ...

    def publish_to_iot_core(
        self, topic: str, message: Mapping[str, object], *, key: str
    ) -> None: ...

    def get_configuration(self, component: str | None, key_path: tuple[str, ...]) -> object: ...

    def follow_configuration(self, component: str | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who runs here."""

    component: str
    thing_name: str | None


class Service:
    """Runs until `stop`, or until a first configuration proves wrong."""

    def __init__(self, identity: Identity, engine: Engine, puller: Puller, state: State) -> None:
        self._identity = identity
        self._engine = engine
        self._puller = puller
        self._state = state
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._due: dict[str, float] = {}
        self._jobs: dict[Wanted, Job] = {}
        self._config: Config | None = None
        self._problems: tuple[Problem, ...] = ()
        self._unreadable = False
        self._followed: set[str] = set()
        self._changes_since: float | None = None
        self._engine_status = EngineStatus()
        self._cloud: OrderedDict[str, Message] = OrderedDict()
        self._running = False
        self._exit_code: int | None = None
        self._stopping = threading.Event()
        self._started_at = time.monotonic()

    # Called by the nucleus link and by the signal handler, on their threads.

    def on_connected(self) -> None:
        """A new connection: nothing is subscribed on it, and nothing was said."""
        self._events.put(self._begin_connection)

    def on_configuration_changed(self, component: str | None) -> None:
        """Something in that component's configuration changed."""
        log.debug("configuration changed component=%s", component)
        self._events.put(self._note_change)

    def on_status_requested(self) -> None:
        """Somebody wants to know."""
        self._events.put(self._say_all)

    def stop(self) -> None:
        """Ends the service; `run` returns soon after."""
        self._stopping.set()
        self._events.put(lambda: self._end(ExitCode.DONE))

    def run(self, link: Link) -> int:
        """Serves until stopped. Returns the exit code."""
        self._link = link
        threading.Thread(target=self._watch_engine, name="engine", daemon=True).start()
        link.start()
        while self._exit_code is None:
            try:
                self._step()
            except Exception:  # the manager must not crash: its dependents would be restarted
                log.exception("a step of the service failed; going on")
        for job in self._jobs.values():
            job.cancel()
        link.stop(FLUSH_SECONDS)
        self._state.close()
        return self._exit_code

    def _step(self) -> None:
        """Handles one event, or what is due."""
        now = time.monotonic()
        late = [name for name, due in self._due.items() if due <= now]
        for name in late:
            del self._due[name]
            getattr(self, f"_due_{name}")()
        if late:
            return
        wait = min(self._due.values(), default=now + 3600) - now
        try:
            event = self._events.get(timeout=max(0.0, wait))
        except queue.Empty:
            return
        event()

    def _end(self, code: int) -> None:
        if self._exit_code is None:
            self._exit_code = code
            self._stopping.set()

    def _at(self, name: str, seconds: float) -> None:
        """`_due_<name>` is called in so many seconds, or earlier if that was arranged before."""
        due = time.monotonic() + seconds
        self._due[name] = min(due, self._due.get(name, due))

    # Configuration

    def _begin_connection(self) -> None:
        self._followed = set()
        try:
            self._link.follow_configuration(None)
        except NucleusUnavailable as error:
            log.warning("cannot follow the configuration, trying again error=%s", error)
            self._at("connection", READ_AGAIN_SECONDS)
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
        self._due["configuration"] = due

    def _due_configuration(self) -> None:
        self._changes_since = None
        try:
            raw, refused = self._read_own()
            config, problems = parse_config(raw)
            problems += refused
            dependents: dict[str, tuple[ImageSpec, ...]] = {}
            for component in config.components:
                specs, more = self._read_dependent(component)
                dependents[component] = specs
                problems += more
        except NucleusUnavailable as error:
            log.warning("cannot read the configuration, trying again error=%s", error)
            self._at("configuration", READ_AGAIN_SECONDS)
            return
        for problem in problems:
            if problem not in self._problems:
                log.error("COMPONENT_CONFIGURATION_NOT_VALID %s", problem)
        self._problems = problems
        if refused and self._config is not None:
            # What cannot be read is not what somebody wants removed: the old configuration stays.
            self._at("summary", 0)
            return
        self._unreadable = bool(refused)
        self._apply(config, desired_images(self._identity.component, config.images, dependents))

    def _read_own(self) -> tuple[object, tuple[Problem, ...]]:
        """The configuration, and the keys that the nucleus cannot hand over."""
        try:
            return self._link.get_configuration(None, ()), ()
        except NucleusRefused as error:
            log.info("reading the configuration key by key reason=%s", error)
        found: dict[str, object] = {}
        refused = []
        for key in CONFIGURATION_KEYS:
            try:
                found[key] = self._link.get_configuration(None, (key,))
            except NucleusRefused as error:
                refused.append(
                    Problem(
                        key,
                        f"the nucleus cannot hand this value over ({error}); Lite allows"
                        " 10,000 bytes and 255 values: make it smaller",
                    )
                )
        return found, tuple(refused)

    def _read_dependent(self, component: str) -> tuple[tuple[ImageSpec, ...], tuple[Problem, ...]]:
        if component not in self._followed:
            self._link.follow_configuration(component)
            self._followed.add(component)
        raw = self._link.get_configuration(component, ("dockerImages",))
        specs, problems = parse_dependent_images(raw)
        return specs, tuple(Problem(f"{component}:{p.path}", p.message) for p in problems)

    def _apply(self, config: Config, desired: tuple[Wanted, ...]) -> None:
        first = self._config is None
        self._config = config
        self._puller.configure(config)
        actions = plan(self._jobs, desired)
        for wanted in actions.stop:
            log.info("no longer wanted image=%s component=%s", wanted.uri, wanted.component)
            self._jobs.pop(wanted).cancel()
        listing = Listing(self._engine)
        for wanted in actions.start:
            job = self._jobs[wanted] = Job(wanted, self._tell)
            job.start(self._puller, listing, config.pull_policy)
        if first:
            remaining = self._started_at + config.startup.wait_seconds - time.monotonic()
            self._at("startup", max(0.0, remaining))
            self._at("heartbeat", config.status.heartbeat_seconds)
        if first or actions.start or actions.stop:
            log.info(
                "configuration applied images=%d new=%d gone=%d problems=%d",
                len(self._jobs), len(actions.start), len(actions.stop), len(self._problems),
            )  # fmt: skip
        if self._running:
            # A device that once ran with this configuration does not lose its manager over it.
            self._state.record_running(self._fingerprint())
        self._at("summary", 0)
        self._evaluate()

    def _fingerprint(self) -> str:
        return hashlib.sha256(repr(sorted(map(repr, self._jobs))).encode()).hexdigest()

    # Lifecycle

    def _evaluate(self) -> None:
        """Until RUNNING: whether it is time to say so, or to give this configuration up."""
        if self._running or self._config is None:
            return
        required = [job for job in self._jobs.values() if job.wanted.spec.required]
        failed = [job for job in required if job.update.state is ImageState.FAILED]
        if (
            (failed or self._unreadable)
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

    @property
    def _origin(self) -> Origin:
        return Origin(self._identity.thing_name, self._identity.component)

    def _tell(self, wanted: Wanted, update: ImageUpdate) -> None:
        self._events.put(lambda: self._image_changed(wanted, update))

    def _image_changed(self, wanted: Wanted, update: ImageUpdate) -> None:
        if wanted not in self._jobs:
            return
        self._say_image(wanted, update)
        if update.state is not ImageState.PULLING or update.progress is None:
            self._at("summary", SUMMARY_INTERVAL_SECONDS)
            self._evaluate()

    def _say_image(self, wanted: Wanted, update: ImageUpdate) -> None:
        if self._config is None:
            return
        origin = Origin(self._identity.thing_name, wanted.component)
        message = image_message(origin, wanted.uri, update, time.time())
        key = f"{wanted.component} {wanted.uri}"
        # Every change of state is said; of progress that waits to be sent, only the newest.
        step = f"{key} {update.state.value} {update.attempt}"
        self._link.publish(self._config.status.image_topic, message, key=step)
        if update.state in {ImageState.READY, ImageState.FAILED, ImageState.REMOVED}:
            self._to_cloud(key, message)

    def _due_summary(self) -> None:
        if self._config is None:
            return
        message = summary_message(
            self._origin,
            (job.update.state for job in self._jobs.values()),
            self._engine_status,
            self._problems,
            time.time(),
        )
        self._link.publish(self._config.status.topic, message, key="summary")
        self._to_cloud("summary", message)

    def _due_heartbeat(self) -> None:
        # Lite forgets the subscription to a key that a deployment resets: look for ourselves, too.
        self._due_configuration()
        if self._config is not None:
            self._at("heartbeat", self._config.status.heartbeat_seconds)
        self._due_summary()

    def _say_all(self) -> None:
        for wanted, job in self._jobs.items():
            self._say_image(wanted, job.update)
        self._due_summary()

    def _to_cloud(self, key: str, message: Message) -> None:
        """Newest of each kind, one in `minIntervalSeconds`."""
        if self._config is not None and self._config.status.iot_core_topic:
            self._cloud[key] = message
            if "cloud" not in self._due:
                self._at("cloud", 0)

    def _due_cloud(self) -> None:
        if self._config is None or not self._cloud:
            return
        key, message = self._cloud.popitem(last=False)
        topic = self._config.status.iot_core_topic.replace(
            "{thingName}", self._identity.thing_name or "unknown"
        )
        if topic:
            self._link.publish_to_iot_core(topic, message, key=key)
        # Also when nothing waits, so that the next one keeps its distance.
        self._due["cloud"] = time.monotonic() + self._config.status.min_interval_seconds

    # The engine

    def _watch_engine(self) -> None:
        """On a thread of its own: an engine that hangs must not hang the service."""
        while True:
            status = look_at_engine(self._engine)
            self._events.put(lambda status=status: self._engine_looked_at(status))  # type: ignore[misc]
            if self._stopping.wait(ENGINE_LOOK_SECONDS):
                return

    def _engine_looked_at(self, status: EngineStatus) -> None:
        changed = status.version != self._engine_status.version
        self._engine_status = status
        if changed:
            self._at("summary", 0)


def look_at_engine(engine: Engine) -> EngineStatus:
    """Version and free space, or why there are none."""
    try:
        info = engine.info()
    except DockermgrError as error:
        return EngineStatus(error=error)
    return EngineStatus(version=info.version, free_bytes=disk.free_bytes(info.data_root))
