"""The built component with two dependents, deployed as either nucleus does it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.deploying import (
    MANAGED,
    MANAGER,
    PLAIN,
    STAYS,
    containers,
    managed,
    manager,
    plain,
)
from tests.sandbox.core import Core
from tests.sandbox.demo import PRIVATE, PUBLIC
from tests.sandbox.deployment import Deployer, Outcome
from tests.sandbox.device import Device
from tests.sandbox.images import push_image
from tests.sandbox.ipc import Dialect
from tests.sandbox.life import State
from tests.sandbox.processes import alive, parents, wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def core(request: pytest.FixtureRequest, fresh_device: Device) -> Iterator[Core]:
    push_image(fresh_device.ecr, "hello", "1.0.0", command=STAYS)
    push_image(fresh_device.public, "library/tool", "1.27", command=STAYS)
    with Core(fresh_device, request.param) as made:
        yield made


@pytest.fixture
def nucleus(core: Core) -> Iterator[Deployer]:
    made = Deployer(core)
    try:
        with made:
            yield made
    finally:
        print(f"\n{core.dialect.value}\n{made.transcript.text()}")


def deploy_three(nucleus: Deployer, folder: Path) -> None:
    outcome = nucleus.deploy(
        plain(folder, PRIVATE),
        managed(folder, PUBLIC),
        manager({"images": [PUBLIC], "components": [PLAIN]}),
    )
    assert outcome is Outcome.SUCCEEDED, nucleus.core.root.joinpath(f"{MANAGER}.log").read_text()
    both_run(nucleus)


def both_run(nucleus: Deployer) -> None:
    nucleus.wait_until(
        lambda: containers(nucleus.core).keys() == {PLAIN, MANAGED}, "both containers run"
    )


def processes_of(core: Core) -> list[int]:
    """All processes of the sandbox that work in the folder of a component."""
    found = []
    for pid in parents():
        try:
            folder = os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            continue
        if folder.startswith(str(core.root)) and alive(pid):
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
