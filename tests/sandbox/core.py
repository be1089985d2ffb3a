"""A core device: the box with a nucleus in it that runs the lifecycle scripts of recipes.

It does what a nucleus does for one component at a time: chooses the manifest, fills in the recipe's
variables and the environment, starts a script in the component's work folder, stops it with SIGTERM
and then SIGKILL. `deployment.py` adds the rest: order, time-outs, restarts, upgrades. Neither changes
the user: scripts run as the user of the sandbox, root.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sandbox.device import Device
from tests.sandbox.ipc import Component, Dialect, IpcServer
from tests.sandbox.nucleus.rules import as_lite_recipe_configuration, merge_configuration
from tests.sandbox.processes import Process
from tests.sandbox.recipes import Dependency, Step, dependencies, pointers, read_recipe, steps
from tests.sandbox.secrets import SECRETS
from tests.sandbox.tes import TesServer

TES = "aws.greengrass.TokenExchangeService"


@dataclass(frozen=True, slots=True)
class InstalledComponent:
    """A component as it is on the device, variables filled in."""

    name: str
    version: str
    steps: Mapping[str, Step]
    dependencies: Mapping[str, Dependency]
    work: Path

    @property
    def scripts(self) -> dict[str, str]:
        """By lifecycle step."""
        return {name: step.script for name, step in self.steps.items()}


class Core:
    """A nucleus of one dialect on the device. A context manager.

    At its end all that its components wrote and said is looked at for secrets.
    """

    def __init__(
        self, device: Device, dialect: Dialect, *, secrets: Mapping[str, str | bytes] | None = None
    ) -> None:
        self.device = device
        self.dialect = dialect
        self.root = device.folder / f"greengrass-{dialect.value}"
        self.ipc = IpcServer(self.root / "ipc.socket", dialect, secrets=secrets)
        for text in (secrets or {}).values():
            SECRETS.add_document("a Secrets Manager secret", text)
        self.tes = TesServer(dialect, ())
        self._uses_tes: set[str] = set()
        self._parts = contextlib.ExitStack()

    def __enter__(self) -> Core:
        self.root.mkdir(parents=True)
        self._parts.callback(shutil.rmtree, self.root)
        self._parts.enter_context(self.ipc)
        self._parts.enter_context(self.tes)
        return self

    def __exit__(self, *_: object) -> None:
        SECRETS.look_at_files(self.root)
        SECRETS.look_at_files(self.device.folder / "home")
        self.ipc.look_for_secrets()
        self._parts.close()

    def add_component(
        self,
        name: str,
        *,
        configuration: Mapping[str, Any] | None = None,
        access_control: Mapping[str, Any] | None = None,
        uses_tes: bool = True,
    ) -> Path:
        """Makes a component known to IPC and TES; returns its work folder."""
        component = Component(
            name,
            configuration=dict(configuration or {}),
            access_control=dict(access_control or {}),
        )
        self.ipc.add_component(component)
        self.tes.tokens.add(component.auth_token)
        if uses_tes:
            self._uses_tes.add(name)
        work = self.root / "work" / name
        work.mkdir(parents=True, exist_ok=True)
        return work

    def install(
        self,
        recipe: Path,
        artifacts: Path | None = None,
        *,
        merge: Mapping[str, Any] | None = None,
    ) -> InstalledComponent:
        """Installs a component, or another version of it; `merge` is the deployment's update.

        What is configured already stays, defaults of the recipe only fill in what is not there: so
        it is with `accessControl`, too.
        """
        content = read_recipe(recipe)
        name, version = content["ComponentName"], content["ComponentVersion"]
        tree = copy.deepcopy(
            content.get("ComponentConfiguration", {}).get("DefaultConfiguration", {})
        )
        if self.dialect is Dialect.LITE and recipe.suffix != ".json":
            tree = as_lite_recipe_configuration(tree)
        merge_configuration(tree, self.configuration(name))
        merge_configuration(tree, dict(merge or {}))
        work = self._configure(name, tree, uses_tes=TES in content.get("ComponentDependencies", {}))
        folder = self.root / "packages" / "artifacts" / name / version
        folder.mkdir(parents=True, exist_ok=True)
        if artifacts is not None:
            shutil.copytree(artifacts, folder, dirs_exist_ok=True)
        # Lite fills folders in with a slash at the end.
        end = "/" if self.dialect is Dialect.LITE else ""
        variables = {
            "artifacts:path": f"{folder}{end}",
            "work:path": f"{work}{end}",
            "kernel:rootPath": str(self.root),
            "iot:thingName": self.device.environment()["AWS_IOT_THING_NAME"],
            **dict(pointers(tree)),
        }
        return InstalledComponent(
            name,
            version,
            steps(content, self.dialect, variables),
            dependencies(content, self.dialect),
            work,
        )

    def configuration(self, name: str) -> dict[str, Any]:
        """All that is configured of a component; nothing for an unknown one."""
        known = self.ipc.component(name)
        return copy.deepcopy(known.configuration_tree()) if known is not None else {}

    def _configure(self, name: str, tree: Mapping[str, Any], *, uses_tes: bool) -> Path:
        plain = {key: value for key, value in tree.items() if key != "accessControl"}
        known = self.ipc.component(name)
        if known is None:
            return self.add_component(
                name,
                configuration=plain,
                access_control=tree.get("accessControl", {}),
                uses_tes=uses_tes,
            )
        self.restore(name, tree)
        return self.root / "work" / name

    def restore(self, name: str, tree: Mapping[str, Any]) -> None:
        """Makes this the whole configuration; subscribers are told of what changed."""
        known = self.ipc.component(name)
        assert known is not None
        plain = {key: value for key, value in tree.items() if key != "accessControl"}
        gone = [(key,) for key in known.configuration if key not in plain]
        self.ipc.update_configuration(name, plain, reset=gone)
        known.access_control.clear()
        known.access_control.update(copy.deepcopy(tree.get("accessControl", {})))

    def environment(self, component: str) -> dict[str, str]:
        """The environment of a component's scripts. Lite gives TES only to who depends on it."""
        variables = self.device.environment(**self.ipc.environment(component))
        if self.dialect is Dialect.JAVA or component in self._uses_tes:
            variables.update(self.tes.environment(variables["SVCUID"]))
        return {**variables, "GGC_VERSION": "2.18.0"}

    def process(self, component: InstalledComponent, step: str) -> Process:
        """A lifecycle step, not started yet."""
        return Process(
            f"{component.name} {step}",
            ["sh", "-c", component.steps[step].script],
            log=self.root / f"{component.name}.log",
            environment={
                **self.environment(component.name),
                **component.steps[step].environment,
            },
            folder=component.work,
        )

    @contextlib.contextmanager
    def running(self, component: InstalledComponent, step: str) -> Iterator[Process]:
        """Runs a lifecycle step; within, it runs. Stopped as a nucleus stops it."""
        process = self.process(component, step)
        process.start()
        try:
            yield process
        finally:
            process.stop(grace_seconds=15.0)
