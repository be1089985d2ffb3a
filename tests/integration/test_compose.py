"""`dockermgr compose` with Compose v1 and v2, on a real engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import Harness
from tests.sandbox.device import ECR_HOST
from tests.sandbox.engines import docker_26_path
from tests.sandbox.images import push_image
from tests.sandbox.processes import SYSTEM_PATH, Process, wait_until

pytestmark = pytest.mark.timeout(150)

COMPONENT = "com.example.App"
FILE = """\
services:
  one:
    image: ${REGISTRY}/app/one:1
    command: ["sh", "-c", "trap 'echo bye; exit 0' TERM; env; echo up; while :; do sleep 0.1; done"]
    network_mode: none
  two:
    image: tool:1.0
    command: ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"]
    network_mode: none
  debug:
    image: debug:1
    profiles: [debug]
    command: ["true"]
    network_mode: none
"""


class Project:
    """A component's work folder with a Compose file in it."""

    def __init__(self, harness: Harness, folder: Path, path: str) -> None:
        self.harness = harness
        self.folder = folder
        self.file = folder / "app.yaml"
        self.file.write_text(FILE)
        self.environment = {
            **harness.core.environment(COMPONENT),
            "PYTHONPATH": harness.environment()["PYTHONPATH"],
            "DOCKERMGR_HOME": str(harness.home),
            "HOME": str(folder),
            "PATH": path,
            "REGISTRY": ECR_HOST,
        }

    def process(self, *arguments: str) -> Process:
        """A command that is not started yet."""
        return Process(
            "dockermgr compose",
            [os.sys.executable, "-m", "dockermgr", "compose", *arguments],  # type: ignore[attr-defined]
            log=self.harness.core.root / "compose.log",
            environment=self.environment,
            folder=self.folder,
        )

    def containers(self, *, all_of_them: bool = False) -> list[str]:
        """The names of those that run, or of all."""
        with self.harness.device.engine.client() as client:
            return sorted(c.name for c in client.containers.list(all=all_of_them))


@pytest.fixture(params=["v1", "v2"])
def project(request: pytest.FixtureRequest, harness: Harness, tmp_path: Path) -> Iterator[Project]:
    """A component's project, with the machine's Compose v1, or with v2 as docker's plugin."""
    folder = harness.core.add_component(COMPONENT)
    if request.param == "v2":
        plugins = folder / ".docker" / "cli-plugins"
        plugins.mkdir(parents=True)
        found = (Path(part, "docker-compose").resolve() for part in docker_26_path().split(":"))
        (plugins / "docker-compose").symlink_to(next(path for path in found if path.exists()))
    for name in ("tool", "debug"):
        push_image(harness.device.public, f"library/{name}", "1.0" if name == "tool" else "1")
    push_image(harness.device.ecr, "app/one", "1")
    yield Project(harness, folder, SYSTEM_PATH)


def test_up_and_down(project: Project) -> None:
    process = project.process("-f", "app.yaml", "up")
    process.start()
    wait_until(lambda: len(project.containers()) == 2, "two containers", 60)
    process.wait_ready(lambda: process.log_text().count("up") >= 2)
    process.signal(signal.SIGTERM)

    assert process.wait_ended(30)
    assert process.exit_code == 143, process.log_text()
    assert project.containers(all_of_them=True) == []
    assert "bye" in process.log_text()
