"""The built component as a user who may use the engine and nothing else, as nuclei run components."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_component import install, wait_running
from tests.e2e.test_run import RECIPE
from tests.sandbox.core import Core, InstalledComponent
from tests.sandbox.demo import PRIVATE
from tests.sandbox.device import Device
from tests.sandbox.images import push_image
from tests.sandbox.ipc import Dialect
from tests.sandbox.processes import SYSTEM_PATH, Process, wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]

USER, GROUP, DOCKER = 9990, 9991, 9992
"""Without names: no file of the machine is touched, and no name is needed."""
NOTHING_ELSE = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]


@pytest.fixture
def core(fresh_device: Device) -> Iterator[Core]:
    push_image(fresh_device.ecr, "hello", "1.0.0")
    engine_socket = fresh_device.engine.socket
    before = engine_socket.stat()
    os.chown(engine_socket, 0, DOCKER)
    engine_socket.chmod(0o660)
    try:
        with Core(fresh_device, Dialect.JAVA) as made:
            yield made
    finally:
        os.chown(engine_socket, before.st_uid, before.st_gid)
        engine_socket.chmod(before.st_mode)


def as_user(*command: str | Path, groups: str = f"--groups={DOCKER}") -> list[str]:
    identity = [f"--reuid={USER}", f"--regid={GROUP}", groups]
    # The kernel forgets who is to be killed with whom when the user changes.
    return ["setpriv", *identity, *NOTHING_ELSE, "--pdeathsig=KILL", *map(str, command)]


def environment(core: Core, component: str) -> dict[str, str]:
    """With the system's own Python: another one may lie in a home folder that is closed to others."""
    return {**core.environment(component), "PATH": SYSTEM_PATH}


@contextlib.contextmanager
def running(core: Core, component: InstalledComponent, step: str) -> Iterator[Process]:
    os.chown(component.work, USER, GROUP)
    process = Process(
        f"{component.name} {step}",
        as_user("sh", "-c", component.scripts[step]),
        log=core.root / f"{component.name}.log",
        environment=environment(core, component.name),
        folder=component.work,
    )
    process.start()
    try:
        yield process
    finally:
        process.stop(grace_seconds=15.0)


def status(process: Process) -> dict[str, str]:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_it_needs_no_more_than_the_group_of_the_engine(core: Core, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    manager, dependent = install(core, [PRIVATE]), core.install(recipe)
    artifacts = core.root / "packages" / "artifacts" / manager.name
    for path in [artifacts, *artifacts.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)

    with running(core, manager, "startup") as process:
        wait_running(core, process)
        said = status(process)
        assert said["Uid"].split() == [str(USER)] * 4
        assert (said["Groups"], int(said["CapEff"], 16)) == (str(DOCKER), 0)
        assert core.device.engine.tags() == {PRIVATE.removeprefix("docker:")}
        assert "WARNING" not in process.log_text()
        with running(core, dependent, "run") as app, core.device.engine.client() as client:
            app.wait_ready(lambda: "up" in app.log_text().splitlines())
            assert status(app)["Uid"].split() == [str(USER)] * 4
            assert len(client.containers.list(all=True)) == 1
            app.stop(grace_seconds=15)
            assert app.exit_code == 143
            wait_until(
                lambda: not client.containers.list(all=True, ignore_removed=True),
                "the container's end",
            )
        # What it can without the group: the rest of this is no accident.
        refused = subprocess.run(
            as_user(manager.work / "bin/dockermgr", "pull", PRIVATE, groups="--clear-groups"),
            env=environment(core, dependent.name),
            cwd=dependent.work,
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode == 5
        assert "USER_NOT_AUTHORIZED_FOR_DOCKER" in refused.stdout + refused.stderr

    written = [*manager.work.rglob("*"), *dependent.work.rglob("*")]
    assert manager.work / "bin/dockermgr" in written
    assert {path.stat().st_uid for path in written} == {USER}
