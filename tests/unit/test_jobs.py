"""One wanted image: what is told of it, and when it has settled."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockermgr import retry
from dockermgr.config import Config, ImageSpec, RetryConfig
from dockermgr.errors import ErrorCode, Retry
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.jobs import Job
from dockermgr.listing import Listing
from dockermgr.policy import PullPolicy
from dockermgr.reconcile import Wanted
from dockermgr.reference import parse_reference
from tests.unit.test_puller import (
    Event,
    FakeEngine,
    FakeStream,
    failure,
    new_puller,
    pulled,
    silent,
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LEAST_WAIT_SECONDS", 0.0)


class Told:
    """What a job told, and when it told of a state; hears it as the service does."""

    def __init__(self) -> None:
        self.updates: list[ImageUpdate] = []
        self._condition = threading.Condition()

    def __call__(self, job: Job, update: ImageUpdate) -> None:
        with self._condition:
            job.hear(update)
            self.updates.append(update)
            self._condition.notify_all()

    def wait_for(self, state: ImageState) -> ImageUpdate:
        with self._condition:
            assert self._condition.wait_for(
                lambda: self.updates[-1:] and self.updates[-1].state is state, 30
            )
            return self.updates[-1]

    def wait_for_states(self, *last: str) -> None:
        """Until these are the last ones, in this order."""
        with self._condition:
            assert self._condition.wait_for(lambda: self.states[-len(last) :] == [*last], 30)

    @property
    def states(self) -> list[str]:
        return [update.state.value for update in self.updates]


def started(
    folder: Path,
    engine: FakeEngine,
    told: Told,
    uri: str = "docker:app:1",
    policy: PullPolicy | None = None,
) -> Job:
    puller = new_puller(engine, folder, Config(retry=RetryConfig(0.001, 0.001, 2)))
    job = Job(Wanted("com.example.App", ImageSpec(uri)), told)
    assert not job.settled
    job.start(puller, Listing(engine), policy)
    return job


def test_a_job_tells_of_each_state(tmp_path: Path) -> None:
    told = Told()
    job = started(tmp_path, FakeEngine(failure(), pulled()), told)
    ready = told.wait_for(ImageState.READY)
    assert told.states == ["QUEUED", "PULLING", "RETRYING", "PULLING", "READY"]
    assert job.update is ready
    assert job.settled


def test_a_job_is_what_was_heard_of_it_and_not_ahead(tmp_path: Path) -> None:
    told: queue.SimpleQueue[ImageUpdate] = queue.SimpleQueue()
    puller = new_puller(FakeEngine(pulled()), tmp_path, Config())
    job = Job(Wanted("com.example.App", ImageSpec("docker:app:1")), lambda _, u: told.put(u))
    job.start(puller, Listing(FakeEngine()), None)
    updates = [told.get(timeout=30) for _ in range(3)]
    assert updates[-1].state is ImageState.READY
    assert (job.update.state, job.settled) == (ImageState.QUEUED, False)
    for update in updates:
        job.hear(update)
        assert job.update is update
    assert job.settled


def test_the_default_policy_is_used(tmp_path: Path) -> None:
    told, engine = Told(), FakeEngine()
    started(tmp_path, engine, told, policy=PullPolicy.NEVER)
    told.wait_for(ImageState.FAILED)
    assert engine.pulls == []


@pytest.mark.parametrize(
    ("uri", "engine", "code"),
    [
        ("docker:Wrong:1", FakeEngine(), ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID),
        (
            "docker:app:1",
            FakeEngine(failure(ErrorCode.DOCKER_IMAGE_NOT_VALID, Retry.NEVER)),
            ErrorCode.DOCKER_IMAGE_NOT_VALID,
        ),
    ],
)
def test_a_job_that_cannot_succeed_has_settled(
    uri: str, engine: FakeEngine, code: ErrorCode, tmp_path: Path
) -> None:
    told = Told()
    job = started(tmp_path, engine, told, uri)
    failed = told.wait_for(ImageState.FAILED)
    assert failed.error is not None
    assert failed.error.code is code
    assert job.settled


def test_a_defect_of_ours_is_a_failure_of_this_image(tmp_path: Path) -> None:
    def broken(stream: FakeStream) -> Iterator[Event]:
        raise ValueError("a defect")

    told = Told()
    started(tmp_path, FakeEngine(broken), told)
    failed = told.wait_for(ImageState.FAILED)
    assert failed.error is not None
    assert "dockermgr itself failed: ValueError: a defect" in failed.error.message


def test_nothing_is_told_of_a_job_that_was_cancelled(tmp_path: Path) -> None:
    told, engine = Told(), FakeEngine(silent)
    job = started(tmp_path, engine, told)
    told.wait_for(ImageState.PULLING)
    pause = threading.Event()
    while not engine.pulls:
        pause.wait(0.005)
    job.cancel()
    for thread in threading.enumerate():
        if thread.name == "image docker:app:1":
            thread.join(30)
    assert told.states == ["QUEUED", "PULLING"]
    assert engine.streams[0].closed


def test_progress_in_quick_succession_is_told_once(tmp_path: Path) -> None:
    told = Told()
    started(tmp_path, FakeEngine(pulled()), told)
    told.wait_for(ImageState.READY)
    assert told.states == ["QUEUED", "PULLING", "READY"]


def test_what_is_ready_and_could_not_be_checked_stays_settled_while_it_is_tried_again(
    tmp_path: Path,
) -> None:
    told, engine = Told(), FakeEngine(failure(), silent)
    engine.add(parse_reference("app:latest"))
    job = started(tmp_path, engine, told, "docker:app:latest")
    told.wait_for_states("READY", "PULLING")
    try:
        assert job.settled
    finally:
        job.cancel()
