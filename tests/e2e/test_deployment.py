"""The built component with two dependents, deployed as either nucleus does it; crashes and their end."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.e2e.deploying import (
    MANAGED,
    MANAGER,
    PLAIN,
    both_run,
    containers,
    managed,
    manager,
    plain,
)
from tests.sandbox.core import Core
from tests.sandbox.demo import PRIVATE, PUBLIC
from tests.sandbox.deployment import Deployer, Outcome
from tests.sandbox.ipc import Dialect
from tests.sandbox.nucleus.states import State
from tests.sandbox.processes import alive, parents

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]


def deploy_three(nucleus: Deployer, folder: Path) -> None:
    outcome = nucleus.deploy(
        plain(folder, PRIVATE),
        managed(folder, PUBLIC),
        manager({"images": [PUBLIC], "components": [PLAIN]}),
    )
    assert outcome is Outcome.SUCCEEDED
    both_run(nucleus)


def processes_of(core: Core) -> list[int]:
    """All processes of the sandbox that work in the folder of a component."""
    found = []
    for pid in parents():
        try:
            folder = Path(f"/proc/{pid}/cwd").readlink()
        except OSError:
            continue
        if folder.is_relative_to(core.root) and alive(pid):
            found.append(pid)
    return found


def test_two_dependents_start_when_the_manager_says_so_and_stop_before_it(
    nucleus: Deployer, tmp_path: Path
) -> None:
    deploy_three(nucleus, tmp_path)
    transcript = nucleus.transcript
    assert len(processes_of(nucleus.core)) >= 3

    assert transcript.order("STARTING")[0] == MANAGER
    events = [event for event in transcript.of(MANAGER) if not event.startswith("startup:")]
    assert events == ["INSTALLED", "STARTING", "UpdateState(RUNNING)", "RUNNING"]
    assert transcript.order("UpdateState(RUNNING)", "STARTING")[:2] == [MANAGER, MANAGER]

    nucleus.stop()
    assert transcript.order("STOPPED")[-1] == MANAGER
    assert transcript.order("SIGKILL after 15 s", "SIGKILL after 90 s") == []
    assert containers(nucleus.core, everything=True) == {}
    assert processes_of(nucleus.core) == []


def kill(nucleus: Deployer, name: str) -> None:
    """SIGKILL to the process of a component's script; returns when the nucleus has noticed."""
    process = nucleus.life(name).process
    assert process is not None
    seen = nucleus.transcript.states_of(name).count(State.ERRORED)
    process.signal(signal.SIGKILL)
    nucleus.wait_for(name, State.ERRORED, count=seen + 1)


def test_a_manager_that_crashes_is_started_again_and_in_the_end_broken(
    nucleus: Deployer, tmp_path: Path
) -> None:
    deploy_three(nucleus, tmp_path)
    first = containers(nucleus.core)
    java = nucleus.core.dialect is Dialect.JAVA
    for crash in (1, 2):
        kill(nucleus, MANAGER)
        nucleus.wait_for(MANAGER, State.RUNNING, count=crash + 1)
        if java:  # each HARD dependent is started again
            nucleus.wait_for(MANAGED, State.RUNNING, count=crash + 1)
            both_run(nucleus)
            assert not set(first.values()) & set(containers(nucleus.core).values())
        else:  # they are stopped, once, and stay so until something is deployed
            nucleus.wait_for(PLAIN, State.STOPPED)
            nucleus.wait_for(MANAGED, State.STOPPED)
            assert containers(nucleus.core, everything=True) == {}
    kill(nucleus, MANAGER)
    nucleus.wait_for(MANAGER, State.BROKEN)
    nucleus.wait_until(
        lambda: containers(nucleus.core, everything=True) == {}, "no container is left"
    )

    deploy_three(nucleus, tmp_path)
    assert nucleus.transcript.states_of(MANAGER).count(State.BROKEN) == 1


def test_a_dependent_that_crashes_leaves_no_container_behind(
    nucleus: Deployer, tmp_path: Path
) -> None:
    assert nucleus.deploy(manager(), managed(tmp_path, PUBLIC)) is Outcome.SUCCEEDED
    seen: set[str] = set()
    for crash in (1, 2, 3):
        nucleus.wait_until(
            lambda: bool(set(containers(nucleus.core).values()) - seen), "a container runs"
        )
        running = containers(nucleus.core)
        assert list(running) == [MANAGED]
        seen.update(running.values())
        kill(nucleus, MANAGED)
        if crash < 3:
            nucleus.wait_for(MANAGED, State.RUNNING, count=crash + 1)
    nucleus.wait_for(MANAGED, State.BROKEN)
    nucleus.wait_until(
        lambda: containers(nucleus.core, everything=True) == {}, "no container is left"
    )
    assert nucleus.life(MANAGER).state is State.RUNNING
    assert nucleus.transcript.states_of(MANAGER).count(State.RUNNING) == 1
