"""Deployments of the built component and of components that depend on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.sandbox.core import Core
from tests.sandbox.demo import BUILD
from tests.sandbox.deployment import Deployer, Part

MANAGER = "io.dockermgr.DockerApplicationManager"
PLAIN = "com.example.Plain"
MANAGED = "com.example.Managed"
COMMAND = f"{{kernel:rootPath}}/work/{MANAGER}/bin/dockermgr"
STAYS = ("sh", "-c", "echo up; trap 'exit 0' TERM; while :; do sleep 0.1; done")
"""What an image runs that ends when it is told to."""


def manager(merge: Mapping[str, Any] | None = None, build: Path = BUILD) -> Part:
    """The built component."""
    (artifacts,) = (build / "artifacts").glob("*/*")
    return Part(build / "recipes" / "recipe.yaml", artifacts, merge or {})


def component(
    folder: Path,
    name: str,
    lifecycle: Mapping[str, Any],
    *,
    version: str = "1.0.0",
    needs: Sequence[str] = (MANAGER,),
    configuration: Mapping[str, Any] | None = None,
    requirement: str = ">=0.1.0 <2.0.0",
) -> Part:
    """A component with HARD dependencies; the recipe is JSON, which keeps types on both nuclei."""
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "ComponentDependencies": {
            each: {"VersionRequirement": requirement, "DependencyType": "HARD"} for each in needs
        },
        "ComponentConfiguration": {"DefaultConfiguration": configuration or {}},
        "Manifests": [{"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": lifecycle}],
    }
    path = folder / f"{name}-{version}.json"
    path.write_text(json.dumps(recipe))
    return Part(path)


def plain(folder: Path, image: str) -> Part:
    """Plain `docker run` of an image that the manager brings by the component's `dockerImages`."""
    script = (
        f"docker rm --force {PLAIN} >/dev/null 2>&1; "
        f"exec docker run --rm --init --name {PLAIN} {image.removeprefix('docker:')}"
    )
    return component(
        folder, PLAIN, {"run": {"Script": script}}, configuration={"dockerImages": [image]}
    )


def managed(folder: Path, image: str) -> Part:
    """`dockermgr run` of an image."""
    return component(
        folder, MANAGED, {"run": {"Script": f'exec "{COMMAND}" run --pass ipc,work {image}'}}
    )


def containers(core: Core, *, everything: bool = False) -> dict[str, str]:
    """The containers that run, or all that there are: ids by name."""
    with core.device.engine.client() as client:
        found = client.containers.list(all=everything, ignore_removed=True)
        return {str(each.name): str(each.id) for each in found}


def both_run(nucleus: Deployer) -> None:
    """Waits for the containers of both dependents."""
    nucleus.wait_until(
        lambda: containers(nucleus.core).keys() == {PLAIN, MANAGED}, "both containers run"
    )
