"""The built component, started as a nucleus starts it, and a component that depends on it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.core import Core, InstalledComponent
from tests.sandbox.demo import BUILD, DEPENDENT, PRIVATE, PROJECT, PUBLIC
from tests.sandbox.device import Device
from tests.sandbox.images import large_image, push_image
from tests.sandbox.ipc import Dialect, PublishedMessage, StateReport
from tests.sandbox.processes import Process
from tests.sandbox.secrets import SECRETS

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]

IDLE_KIB = 40 * 1024
"""The promise: an idle service is at most 40 MiB."""


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def core(request: pytest.FixtureRequest, fresh_device: Device) -> Iterator[Core]:
    push_image(fresh_device.ecr, "hello", "1.0.0", layers=large_image())
    push_image(fresh_device.public, "library/tool", "1.27")
    with Core(fresh_device, request.param) as made:
        yield made


def install(core: Core, images: list[object]) -> InstalledComponent:
    (artifacts,) = (BUILD / "artifacts").glob("*/*")
    return core.install(BUILD / "recipes" / "recipe.yaml", artifacts, merge={"images": images})


def wait_running(core: Core, process: Process) -> None:
    try:
        core.ipc.wait_for(StateReport, lambda report: report.state == "RUNNING")
    except TimeoutError:
        raise AssertionError(process.log_text()) from None


def test_a_dependents_container_runs_on_the_image_that_the_manager_pulled(core: Core) -> None:
    manager = install(core, [PRIVATE, PUBLIC])
    dependent = core.install(DEPENDENT)

    with core.running(manager, "startup") as process:
        wait_running(core, process)
        with core.device.engine.client() as client:  # what a docker that was stopped had made
            client.containers.create(PRIVATE.removeprefix("docker:"), name=dependent.name)
        with core.running(dependent, "run") as container:
            assert container.wait_ended(60)
            assert container.exit_code == 0, container.log_text()
            assert container.log_text().strip() == "Hello from a container on sandbox-device"

        calls = core.device.aws.calls("GetAuthorizationToken")
        assert sorted(call.service for call in calls) == ["ecr", "ecr-public"]
        assert sum(request.is_login for request in core.device.ecr.requests()) == 1
        process.stop()
        assert process.exit_code is not None

    assert core.ipc.states == [(manager.name, "RUNNING")]


def test_the_recipe_allows_what_the_component_does(core: Core) -> None:
    manager = install(core, [PUBLIC])
    with core.running(manager, "startup") as process:
        wait_running(core, process)
        core.ipc.wait_for(PublishedMessage, lambda message: message.topic == "dockermgr/status")
        log = process.log_text()

    assert "WARNING" not in log
    assert "ERROR" not in log
    assert not [call for call in core.ipc.calls if call.error]


def test_the_images_of_a_dependent_come_with_its_own_configuration(core: Core) -> None:
    manager = install(core, [])
    core.ipc.update_configuration(manager.name, {"components": ["com.example.HelloContainer"]})
    core.install(DEPENDENT)

    with core.running(manager, "startup") as process:
        wait_running(core, process)
        states = {m.json().get("image"): m.json().get("state") for m in core.ipc.published}

    assert states[PRIVATE] == "READY"


def test_another_component_finds_the_command_in_the_work_folder(core: Core) -> None:
    manager = install(core, [])
    other = core.add_component("com.example.Other")
    with core.running(manager, "startup") as process:
        wait_running(core, process)
        command = core.root / "work" / manager.name / "bin" / "dockermgr"
        done = subprocess.run(
            [command, "pull", PRIVATE],
            env=core.environment("com.example.Other"),
            cwd=other,
            capture_output=True,
            text=True,
            check=False,
        )

    SECRETS.look("the output of the command", done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr
    assert "READY" in done.stdout


def test_the_idle_service_stays_small(core: Core) -> None:
    manager = install(core, [PRIVATE, PUBLIC])
    with core.running(manager, "startup") as process:
        wait_running(core, process)
        status = Path(f"/proc/{process.pid}/status").read_text()

    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    assert int(found[1]) <= IDLE_KIB


@pytest.mark.parametrize("dialect", [dialect.value for dialect in Dialect])
def test_the_demo_ends_well(dialect: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.demo", "--dialect", dialect],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    SECRETS.look("the output of the demo", done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hello from a container on sandbox-device" in done.stdout
    assert "RETRYING  docker:pubilc.ecr.aws" in done.stdout
    assert "private ECR tokens asked for: 1; logins at the private registry: 1" in done.stdout
