"""Containers whose supervisor is gone, at whatever instant it went, and what the service makes of them."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import Harness
from tests.integration.running import (
    APP,
    FOREVER,
    IMAGE,
    STUBBORN,
    Runner,
    clear,
    ours,
    push,
    tree,
    wait_none,
)
from tests.sandbox.images import large_image, push_image
from tests.sandbox.ipc import StateReport
from tests.sandbox.processes import Process, wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def runner(harness: Harness) -> Iterator[Runner]:
    push(harness)
    yield Runner(harness)
    clear(harness)


def kill(process: Process) -> None:
    """SIGKILL to all that a nucleus would reach."""
    for pid in tree(process.pid):
        os.kill(pid, signal.SIGKILL)
    assert process.wait_ended(10)


def serving(harness: Harness) -> None:
    harness.ipc.wait_for(StateReport, lambda report: report.state == "RUNNING")


def test_one_that_runs_is_stopped_when_its_supervisor_is_killed(each_harness: Harness) -> None:
    push(each_harness)
    runner = Runner(each_harness)
    with each_harness.service() as service:
        serving(each_harness)
        with runner.up(IMAGE, *FOREVER) as process:
            kill(process)
            wait_none(each_harness)
        assert f"container={APP} component={APP}" in service.log_text()


def test_one_that_ran_before_the_service_started_is_stopped_by_it(runner: Runner) -> None:
    with runner.up(IMAGE, *FOREVER) as process:
        kill(process)
        assert len(ours(runner.harness, everything=False)) == 1
        with runner.harness.service():
            wait_none(runner.harness)


def test_one_whose_supervisor_died_while_stopping_it_is_killed_in_the_end(runner: Runner) -> None:
    with runner.harness.service():
        serving(runner.harness)
        with runner.up(IMAGE, *STUBBORN) as process:
            process.signal(signal.SIGTERM)
            process.wait_ready(lambda: "stopping" in process.log_text())
            kill(process)
            wait_none(runner.harness)


def test_a_kill_before_and_during_the_pull_leaves_nothing_to_stop(runner: Runner) -> None:
    push_image(runner.harness.device.public, "library/large", "1", layers=large_image("orphan"))
    proxy = runner.harness.device.put_between(runner.harness.device.public)
    proxy.bytes_per_second = 2_000_000
    with runner.harness.service():
        serving(runner.harness)
        for stage in ("", "PULLING"):
            with runner.running("docker:large:1", *FOREVER) as process:
                wait_until(lambda: stage in process.log_text(), "the pull")  # noqa: B023
                kill(process)
        proxy.mend()
        with runner.up(IMAGE, *FOREVER):
            assert [found.name for found in ours(runner.harness)] == [APP]


def test_one_that_was_made_and_never_started_is_removed(runner: Runner, tmp_path: Path) -> None:
    """`docker create` returns late, as on a slow device; by then nobody is there to start it."""
    slow = tmp_path / "docker"
    slow.write_text('#!/bin/sh\nPATH="$REAL_PATH" docker "$@"\nsleep 3600\n')
    slow.chmod(0o755)
    path = runner.environment()["PATH"]
    with runner.harness.service():
        serving(runner.harness)
        with runner.running(IMAGE, *FOREVER, PATH=f"{tmp_path}:{path}", REAL_PATH=path) as process:
            wait_until(lambda: len(ours(runner.harness)) == 1, "the container")
            (made,) = ours(runner.harness)
            assert made.status == "created"
            kill(process)
            wait_none(runner.harness)


def test_a_component_that_starts_again_takes_its_place(runner: Runner) -> None:
    with runner.harness.service():
        serving(runner.harness)
        for _ in range(4):
            with runner.up(IMAGE, *FOREVER) as process:
                kill(process)
            with runner.up(IMAGE, *FOREVER) as process:
                time.sleep(2)  # while the service looks after the earlier one
                assert process.running
                assert [found.status for found in ours(runner.harness)] == ["running"]
                kill(process)
        wait_none(runner.harness)


def test_kills_at_random_instants_leave_nothing(runner: Runner) -> None:
    chance = random.Random(4)
    with runner.harness.service() as service:
        serving(runner.harness)
        for _ in range(20):
            with runner.running(IMAGE, *FOREVER) as process:
                time.sleep(chance.uniform(0.1, 2.5))
                if chance.random() < 0.3:
                    process.signal(signal.SIGTERM)
                    time.sleep(chance.uniform(0, 0.3))
                kill(process) if process.running else None
        wait_none(runner.harness)
        assert "Traceback" not in service.log_text()


def test_what_lives_and_what_is_not_ours_is_left_alone(runner: Runner) -> None:
    with runner.harness.device.engine.client() as client, runner.up(IMAGE, *FOREVER) as process:
        stranger = client.containers.run("tool:1.0", ["sleep", "3600"], detach=True)
        forged = client.containers.run(
            "tool:1.0", ["sleep", "3600"], detach=True,
            labels={"io.dockermgr.supervisor": "not one of ours"},
        )  # fmt: skip
        with runner.harness.service() as service:
            serving(runner.harness)
            with runner.up("--name", "second", IMAGE, *FOREVER) as second:
                time.sleep(3)
                assert process.running
                assert second.running
            # Now the second one's supervisor is gone, and no other's.
            service.wait_ready(lambda: "nobody supervises" in service.log_text())
            wait_until(lambda: len(ours(runner.harness)) == 2, "the end of the second")
            for container in (stranger, forged):
                container.reload()
                assert container.status == "running"
            assert process.running
            assert service.log_text().count("nobody supervises") == 1


def test_one_that_is_kept_is_stopped_and_not_removed(runner: Runner) -> None:
    with runner.harness.service():
        serving(runner.harness)
        with runner.up(IMAGE, "--rm=false", *FOREVER) as process:
            kill(process)
            wait_until(lambda: not ours(runner.harness, everything=False), "its end")
        assert [found.status for found in ours(runner.harness)] == ["exited"]


def test_an_engine_that_comes_back_is_looked_through(runner: Runner) -> None:
    with runner.harness.service():
        serving(runner.harness)
        runner.harness.device.engine.restart()
        with runner.up(IMAGE, *FOREVER) as process:
            kill(process)
            wait_none(runner.harness)
