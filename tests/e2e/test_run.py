"""The built command runs a container: it replaces its own process, out of the unpacked runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.test_component import core, install, wait_running
from tests.sandbox.core import Core
from tests.sandbox.demo import PRIVATE
from tests.sandbox.processes import wait_until

__all__ = ["core"]

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]

RECIPE = f"""
RecipeFormatVersion: "2020-01-25"
ComponentName: com.example.App
ComponentVersion: "1.2.3"
ComponentDependencies:
  io.dockermgr.DockerApplicationManager: {{VersionRequirement: ">=0.1.0", DependencyType: HARD}}
  aws.greengrass.TokenExchangeService: {{VersionRequirement: ">=2.0.0", DependencyType: HARD}}
Manifests:
  - Platform: {{os: linux, runtime: "*"}}
    Lifecycle:
      run:
        Script: >-
          exec "{{kernel:rootPath}}/work/io.dockermgr.DockerApplicationManager/bin/dockermgr" run
          --pass ipc,tes,work {PRIVATE} -e ONE=1 --
          sh -c "echo up; exec sleep 3600"
"""


def test_a_dependents_script_runs_its_container_and_is_stopped(core: Core, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    with core.running(install(core, []), "startup") as manager:
        wait_running(core, manager)
        dependent = core.install(recipe)
        with core.running(dependent, "run") as process, core.device.engine.client() as client:
            process.wait_ready(lambda: "up" in process.log_text().splitlines())
            (container,) = client.containers.list(all=True)
            assert container.labels["io.dockermgr.version"] == "1.2.3"
            assert "ONE=1" in container.attrs["Config"]["Env"]
            process.stop(grace_seconds=15)
            assert process.exit_code == 143
            assert not client.containers.list(all=True, ignore_removed=True)
            with core.running(dependent, "run") as again:
                again.wait_ready(lambda: again.log_text().count("\nup\n") == 2)
                again.kill()
                wait_until(
                    lambda: not client.containers.list(all=True, ignore_removed=True),
                    "the end of the orphan",
                )
