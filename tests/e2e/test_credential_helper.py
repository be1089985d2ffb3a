"""The credential helper of the built component, set up and undone as on a device."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sandbox.aws import ECR_PASSWORD
from tests.sandbox.core import Core
from tests.sandbox.demo import BUILD
from tests.sandbox.device import ECR_HOST, Device
from tests.sandbox.images import push_image
from tests.sandbox.ipc import Dialect, StateReport
from tests.sandbox.processes import SYSTEM_PATH

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]

IMAGE = f"{ECR_HOST}/hello:1.0.0"
COMPONENT = "com.example.Other"
# Where the link goes is the machine's own, and outside of the sandbox.
ALONE = """\
set -e
mount --bind /usr/local/bin "$KEPT"
mount -t tmpfs tmpfs /usr/local/bin
exec sh -ec "$1"
"""


@dataclass(frozen=True, slots=True)
class Script:
    """Scripts of a component that finds the manager's commands in `bin`."""

    core: Core
    bin: Path
    home: Path
    kept: Path

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Runs a shell script as root, in a mount namespace of its own."""
        return subprocess.run(
            ["unshare", "--mount", "sh", "-ec", ALONE, "sh", text],
            env={
                **self.core.environment(COMPONENT),
                "HOME": str(self.home),
                "PATH": f"{SYSTEM_PATH}:{self.kept}",
                "KEPT": str(self.kept),
                "BIN": str(self.bin),
                "IMAGE": IMAGE,
                "HOST": ECR_HOST,
            },
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def script(
    request: pytest.FixtureRequest, fresh_device: Device, tmp_path: Path
) -> Iterator[Script]:
    """A component beside the manager, which runs."""
    push_image(fresh_device.ecr, "hello", "1.0.0")
    home, kept = tmp_path / "home", tmp_path / "kept"
    home.mkdir()
    kept.mkdir()
    with Core(fresh_device, request.param) as core:
        (artifacts,) = (BUILD / "artifacts").glob("*/*")
        manager = core.install(BUILD / "recipes" / "recipe.yaml", artifacts)
        core.add_component(COMPONENT)
        with core.running(manager, "startup"):
            core.ipc.wait_for(StateReport, lambda report: report.state == "RUNNING")
            yield Script(core, manager.work / "bin", home, kept)


def test_the_helper_lies_beside_the_command(script: Script) -> None:
    done = script.run('echo "https://$HOST" | "$BIN/docker-credential-dockermgr" get')
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["Secret"] == ECR_PASSWORD


def test_installed_with_a_link_docker_pulls_and_uninstalled_it_does_not(script: Script) -> None:
    done = script.run(
        """
        "$BIN/dockermgr" credentials install "$HOST"
        test "$(readlink /usr/local/bin/docker-credential-dockermgr)" = "$BIN/docker-credential-dockermgr"
        docker pull "$IMAGE"
        docker rmi "$IMAGE"
        "$BIN/dockermgr" credentials uninstall
        test -z "$(ls -A "$HOME/.docker")"
        ! docker pull "$IMAGE"
        """
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no basic auth credentials" in done.stderr


def test_a_component_without_privileges_uses_path_and_a_folder_of_its_own(script: Script) -> None:
    done = script.run(
        """
        export PATH="$BIN:$PATH" DOCKER_CONFIG="$HOME/of-the-component"
        dockermgr credentials install
        docker pull "$IMAGE"
        test ! -e /usr/local/bin/docker-credential-dockermgr
        test ! -e "$HOME/.docker"
        """
    )
    assert done.returncode == 0, done.stdout + done.stderr
