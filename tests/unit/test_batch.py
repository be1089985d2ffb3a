"""Several images for one command: what is shown, when it ends, with which exit code."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from dockermgr import retry
from dockermgr.batch import Batch
from dockermgr.config import Config, ImageSpec, RetryConfig
from dockermgr.errors import DockermgrError, ErrorCode, ExitCode, Retry, Stopped
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.listing import Listing
from dockermgr.policy import PullPolicy
from dockermgr.reference import parse_uri
from tests.unit.test_puller import (
    Event,
    FakeEngine,
    FakeStream,
    failure,
    layer,
    new_puller,
    silent,
)

READY, WRONG, ENGINE = "docker:ready:1", "docker:Wrong:1", "docker:engine:1"
FAILED, WAITING, BROKEN = "docker:failed:1", "docker:waiting:1", "docker:broken:1"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LEAST_WAIT_SECONDS", 0.0)


def by_name() -> FakeEngine:
    """An engine whose pulls do what the image's name says."""

    def broken(stream: FakeStream) -> Iterator[Event]:
        raise ValueError("a defect")

    engine = FakeEngine()
    engine.by_name = {
        "docker.io/library/engine:1": failure(
            ErrorCode.USER_NOT_AUTHORIZED_FOR_DOCKER, Retry.NEVER
        ),
        "docker.io/library/failed:1": failure(ErrorCode.DOCKER_IMAGE_NOT_VALID, Retry.NEVER),
        "docker.io/library/broken:1": broken,
        "docker.io/library/waiting:1": silent,
    }
    return engine


class Run:
    """A batch over an engine, and what it showed."""

    def __init__(self, folder: Path, uris: Iterable[str], engine: FakeEngine | None = None) -> None:
        self.engine = engine or by_name()
        self.shown: list[tuple[str, ImageUpdate]] = []
        self.batch = Batch([ImageSpec(uri) for uri in uris], self._show)
        config = Config(retry=RetryConfig(0.001, 0.001, 2), max_concurrent_pulls=9)
        self.puller = new_puller(self.engine, folder, config)

    def _show(self, uri: str, update: ImageUpdate) -> None:
        self.shown.append((uri, update))

    def go(self, timeout_seconds: float = 0) -> ExitCode:
        return self.batch.run(self.puller, Listing(self.engine), timeout_seconds)

    def last(self, uri: str) -> ImageUpdate:
        return [update for shown, update in self.shown if shown == uri][-1]


def test_no_images_are_done(tmp_path: Path) -> None:
    assert Run(tmp_path, []).go() is ExitCode.DONE


def test_all_that_becomes_ready_is_done(tmp_path: Path) -> None:
    run = Run(tmp_path, [READY, "docker:other:1"])
    assert run.go() is ExitCode.DONE
    assert run.last(READY).state is ImageState.READY
    assert run.batch.unfinished() == ()


def test_the_same_image_twice_is_one(tmp_path: Path) -> None:
    run = Run(tmp_path, [READY, READY])
    assert run.go() is ExitCode.DONE
    assert len(run.engine.pulls) == 1


@pytest.mark.parametrize(
    ("uris", "timeout_seconds", "code"),
    [
        ([READY, WRONG], 0, ExitCode.USAGE),
        ([READY, FAILED], 0, ExitCode.FAILED),
        ([WRONG, FAILED], 0, ExitCode.FAILED),
        ([READY, BROKEN], 0, ExitCode.FAILED),
        ([ENGINE], 0, ExitCode.ENGINE),
        ([WRONG, FAILED, ENGINE], 0, ExitCode.ENGINE),
        ([READY, WAITING], 0.2, ExitCode.TIMED_OUT),
        ([WRONG, WAITING], 0.2, ExitCode.TIMED_OUT),
        ([FAILED, WAITING], 0.2, ExitCode.FAILED),
        ([ENGINE, WAITING], 0.2, ExitCode.ENGINE),
    ],
)
def test_the_exit_code_speaks_for_the_worst(
    uris: list[str], timeout_seconds: float, code: ExitCode, tmp_path: Path
) -> None:
    run = Run(tmp_path, uris)
    assert run.go(timeout_seconds) is code
    if READY in uris:
        assert run.last(READY).state is ImageState.READY
    assert [uri for uri, _ in run.batch.unfinished()] == [uri for uri in uris if uri == WAITING]


def test_a_defect_of_ours_is_reported_and_spoils_nothing_else(tmp_path: Path) -> None:
    run = Run(tmp_path, [BROKEN, READY])
    run.go()
    error = run.last(BROKEN).error
    assert error is not None
    assert "dockermgr itself failed: ValueError: a defect" in error.message
    assert run.last(READY).state is ImageState.READY


def test_an_engine_that_stays_away_is_the_reason_when_time_runs_out(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.listing_failures = [failure(ErrorCode.DOCKER_SERVICE_UNAVAILABLE)] * 100_000
    run = Run(tmp_path, [READY], engine)
    assert run.go(0.2) is ExitCode.ENGINE
    ((uri, error),) = run.batch.unfinished()
    assert uri == READY
    assert error is not None
    assert error.code is ErrorCode.DOCKER_SERVICE_UNAVAILABLE


def test_the_last_reason_is_kept_while_the_next_attempt_runs(tmp_path: Path) -> None:
    network = failure()
    run = Run(tmp_path, [READY], FakeEngine(network, silent))
    assert run.go(0.3) is ExitCode.TIMED_OUT
    assert run.last(READY).state is ImageState.PULLING
    assert run.batch.unfinished() == ((READY, network),)


def test_latest_that_cannot_be_checked_is_done_at_the_first_failure(tmp_path: Path) -> None:
    engine = FakeEngine(failure(), silent)
    uri = "docker:app:latest"
    engine.add(parse_uri(uri))
    run = Run(tmp_path, [uri], engine)
    assert run.go() is ExitCode.DONE
    last = run.last(uri)
    assert (last.state, isinstance(last.error, DockermgrError)) == (ImageState.READY, True)


def test_the_default_policy_of_the_command_counts(tmp_path: Path) -> None:
    engine = FakeEngine()
    run = Run(tmp_path, [], engine)
    batch = Batch([ImageSpec(READY, PullPolicy.NEVER)], lambda *_: None)
    assert batch.run(run.puller, Listing(engine), 0) is ExitCode.FAILED
    assert engine.pulls == []


def test_stopping_ends_it_with_what_is_done_by_then(tmp_path: Path) -> None:
    run = Run(tmp_path, [READY, WAITING])
    codes: list[ExitCode] = []
    thread = threading.Thread(target=lambda: codes.append(run.go()), daemon=True)
    thread.start()
    pause = threading.Event()
    while not any(update.state is ImageState.READY for _, update in run.shown):
        pause.wait(0.005)
    run.batch.stop()
    thread.join(30)
    assert codes == [ExitCode.TIMED_OUT]
    assert run.last(READY).state is ImageState.READY


def test_updates_are_shown_in_the_thread_that_runs_it(tmp_path: Path) -> None:
    threads: set[str] = set()
    engine = FakeEngine()
    batch = Batch(
        [ImageSpec(f"docker:app-{number}:1") for number in range(5)],
        lambda *_: threads.add(threading.current_thread().name),
    )
    run = Run(tmp_path, [], engine)
    batch.run(run.puller, Listing(engine), 0)
    assert threads == {threading.current_thread().name}


def test_an_image_whose_work_was_stopped_is_waited_for_no_longer(tmp_path: Path) -> None:
    def stopped(stream: FakeStream) -> Iterator[Event]:
        raise Stopped

    run = Run(tmp_path, [READY, WAITING])
    run.engine.by_name["docker.io/library/waiting:1"] = stopped
    assert run.go() is ExitCode.TIMED_OUT
    assert run.last(READY).state is ImageState.READY


def test_time_runs_out_also_while_there_is_always_something_to_show(tmp_path: Path) -> None:
    def flood(stream: FakeStream) -> Iterator[Event]:
        for number in itertools.count():
            if stream.aborted.is_set():
                raise failure(ErrorCode.DOCKER_SERVICE_UNAVAILABLE)
            yield layer("Downloading", number, 10**12)

    pause = threading.Event()

    def show_slowly(uri: str, update: ImageUpdate) -> None:
        pause.wait(0.001)  # longer than the next one takes to come

    run = Run(tmp_path, [], FakeEngine(flood))
    batch = Batch([ImageSpec(WAITING)], show_slowly)
    codes: list[ExitCode] = []

    def go() -> None:
        codes.append(batch.run(run.puller, Listing(run.engine), 0.1))

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    thread.join(20)
    batch.stop()
    assert codes == [ExitCode.TIMED_OUT]
