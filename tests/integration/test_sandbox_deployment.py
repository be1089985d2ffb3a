"""The nucleus of the tests does what nuclei do: scripts of the shell, and short limits."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deploying import component
from tests.sandbox.core import Core
from tests.sandbox.deployment import Deployer, Outcome
from tests.sandbox.device import Device
from tests.sandbox.ipc import Dialect
from tests.sandbox.nucleus.states import Limits, State
from tests.sandbox.processes import alive, wait_until

LIMITS = Limits(
    step_seconds=1.0,
    settle_seconds=10.0,
    java_grace_seconds=0.5,
    lite_grace_seconds=0.5,
    restart_seconds=0.1,
)
APP, BASE = "com.example.App", "com.example.Base"
REPORTS = (
    f"exec {sys.executable} -c 'import sys, time;"
    " from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2 as Client;"
    " Client().update_state(state=sys.argv[1]); time.sleep(100)' "
)


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def nucleus(request: pytest.FixtureRequest, fresh_device: Device) -> Iterator[Deployer]:
    with Core(fresh_device, request.param) as core, Deployer(core, LIMITS) as made:
        yield made


def is_java(nucleus: Deployer) -> bool:
    return nucleus.core.dialect is Dialect.JAVA


def work(nucleus: Deployer, name: str = APP) -> Path:
    return nucleus.core.root / "work" / name


def lifecycle(**scripts: str) -> dict[str, Any]:
    return {step: {"Script": script} for step, script in scripts.items()}


def test_installs_wait_for_nobody_and_starts_for_hard_dependencies(
    nucleus: Deployer, tmp_path: Path
) -> None:
    first = component(tmp_path, BASE, lifecycle(run="sleep 0.5"), needs=())
    second = component(tmp_path, APP, lifecycle(install="true", run="sleep 100"), needs=[BASE])

    assert nucleus.deploy(second, first) is Outcome.SUCCEEDED

    transcript = nucleus.transcript
    assert transcript.order("STARTING") == [BASE, APP]
    assert transcript.order("INSTALLED")[0] == BASE or transcript.of(APP)[0].startswith("install")
    # FINISHED is as good as RUNNING.
    nucleus.wait_for(BASE, State.FINISHED)
    assert nucleus.life(APP).state is State.RUNNING


def test_a_startup_that_merely_returns(nucleus: Deployer, tmp_path: Path) -> None:
    script = "sleep 100 & echo $! > daemon"
    part = component(tmp_path, APP, lifecycle(startup=script), needs=())

    assert nucleus.deploy(part) is Outcome.SUCCEEDED

    daemon = int((work(nucleus) / "daemon").read_text())
    if is_java(nucleus):
        assert nucleus.life(APP).state is State.RUNNING
        assert alive(daemon)
        os.kill(daemon, signal.SIGKILL)  # Java does not find it again, either
    else:
        assert nucleus.life(APP).state is State.FINISHED
        assert not alive(daemon)


@pytest.mark.parametrize("step", ["install", "startup"])
@pytest.mark.parametrize("script", ["exit 3", "sleep 100"])
def test_what_fails_three_times_is_broken(
    nucleus: Deployer, tmp_path: Path, step: str, script: str
) -> None:
    part = component(tmp_path, APP, {"run": {"Script": "true"}, step: {"Script": script}}, needs=())

    outcome = nucleus.deploy(part)

    assert outcome is (Outcome.ROLLED_BACK if is_java(nucleus) else Outcome.FAILED)
    states = nucleus.transcript.states_of(APP)
    assert states.count(State.ERRORED) == 3
    assert states.count(State.BROKEN) == 1
    why = "timed out" if script == "sleep 100" else "failed"
    assert f"ERRORED: {step} {why}" in nucleus.transcript.of(APP)


def test_a_timeout_of_the_recipe_counts(nucleus: Deployer, tmp_path: Path) -> None:
    steps = {"install": {"Script": "sleep 1.3", "Timeout": 20}, "run": {"Script": "true"}}
    assert nucleus.deploy(component(tmp_path, APP, steps, needs=())) is Outcome.SUCCEEDED
    assert State.ERRORED not in nucleus.transcript.states_of(APP)


def test_sigterm_for_all_of_them_and_sigkill_for_who_does_not_listen(
    nucleus: Deployer, tmp_path: Path
) -> None:
    script = (
        "setsid sh -c 'echo $$ > far; exec sleep 100' & "
        "sh -c 'trap : TERM; echo $$ > deaf; while :; do sleep 0.1; done' & "
        "trap 'echo told > told; wait' TERM; wait; wait; wait"
    )
    files = [work(nucleus) / name for name in ("far", "deaf")]
    part = component(tmp_path, APP, lifecycle(run=script), needs=())
    assert nucleus.deploy(part) is Outcome.SUCCEEDED
    wait_until(lambda: all(file.exists() for file in files), "all processes")
    pids = [int(file.read_text()) for file in files]

    nucleus.stop()

    assert (work(nucleus) / "told").exists()
    assert "SIGKILL after 0.5 s" in nucleus.transcript.of(APP)
    assert not any(map(alive, pids))


def test_what_left_the_process_tree_is_found_by_lite_alone(
    nucleus: Deployer, tmp_path: Path
) -> None:
    script = "(setsid sh -c 'echo $$ > far; exec sleep 100' &) ; exec sleep 100"
    part = component(tmp_path, APP, lifecycle(run=script), needs=())
    assert nucleus.deploy(part) is Outcome.SUCCEEDED
    wait_until((work(nucleus) / "far").exists, "the daemon")
    far = int((work(nucleus) / "far").read_text())

    nucleus.stop()

    assert alive(far) is is_java(nucleus)
    if is_java(nucleus):
        os.kill(far, signal.SIGKILL)


def test_shutdown_and_recover_are_steps_of_java(nucleus: Deployer, tmp_path: Path) -> None:
    steps = lifecycle(
        run="[ -e ran ] && exec sleep 100; touch ran; exit 1",
        recover="touch recovered",
        shutdown="touch shut",
    )
    nucleus.deploy(component(tmp_path, APP, steps, needs=()))
    nucleus.wait_for(APP, State.RUNNING, count=2)
    nucleus.stop()

    done = [name for name in ("recovered", "shut") if (work(nucleus) / name).exists()]
    assert done == (["recovered", "shut"] if is_java(nucleus) else [])


def test_errored_counts_on_java_alone(nucleus: Deployer, tmp_path: Path) -> None:
    limits = {"startup": {"Script": REPORTS + "ERRORED", "Timeout": 5}}
    nucleus.begin(component(tmp_path, APP, limits, needs=()))
    nucleus.wait_until(lambda: "UpdateState(ERRORED)" in nucleus.transcript.of(APP), "the report")
    nucleus.wait_for(APP, State.ERRORED)
    why = "startup failed" if is_java(nucleus) else "startup timed out"
    assert f"ERRORED: {why}" in nucleus.transcript.of(APP)


def test_lite_installs_while_the_old_version_runs(nucleus: Deployer, tmp_path: Path) -> None:
    def version(number: str) -> Any:
        steps = lifecycle(install="true", run="sleep 100")
        return component(tmp_path, APP, steps, version=number, needs=())

    nucleus.deploy(version("1.0.0"))
    nucleus.deploy(version("1.1.0"))

    states = nucleus.transcript.states_of(APP)
    first = [State.INSTALLED, State.STARTING, State.RUNNING]
    stop = [State.STOPPING, State.STOPPED]
    again = [State.STARTING, State.RUNNING]
    assert states == (
        [*first, *stop, *first] if is_java(nucleus) else [*first, State.INSTALLED, *stop, *again]
    )
    artifacts = nucleus.core.root / "packages" / "artifacts" / APP
    assert [path.name for path in artifacts.iterdir()] == ["1.1.0"]


def test_a_deployment_whose_requirements_nothing_meets_changes_nothing(
    nucleus: Deployer, tmp_path: Path
) -> None:
    base = component(tmp_path, BASE, lifecycle(run="exec sleep 100"), version="1.2.0", needs=())
    assert nucleus.deploy(base) is Outcome.SUCCEEDED
    for requirement, fits in (
        (">=1.0.0 <2.0.0", True),
        ("^1.0.0", is_java(nucleus)),
        ("~1.2.0", is_java(nucleus)),
        (">=1.3.0", False),
    ):
        picky = lifecycle(run="true")
        part = component(tmp_path, APP, picky, needs=[BASE], requirement=requirement)
        outcome = nucleus.deploy(base, part)
        assert outcome is (Outcome.SUCCEEDED if fits else Outcome.FAILED), requirement
    assert nucleus.transcript.states_of(BASE) == [State.INSTALLED, State.STARTING, State.RUNNING]
