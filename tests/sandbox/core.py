"""A core device: the box with a nucleus in it that runs the lifecycle scripts of recipes.

It does what a nucleus does for one component at a time: chooses the manifest, fills in the recipe's
variables and the environment, starts a script in the component's work folder, stops it with SIGTERM
and then SIGKILL. It does not order dependencies, watch time-outs or restart what failed.
"""

from __future__ import annotations

import contextlib
import copy
import json
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.sandbox.device import Device
from tests.sandbox.ipc import Component, Dialect, IpcServer
from tests.sandbox.nucleus.rules import as_lite_recipe_configuration, merge_configuration
from tests.sandbox.processes import Process, SandboxError
from tests.sandbox.secrets import SECRETS
from tests.sandbox.tes import TesServer

TES = "aws.greengrass.TokenExchangeService"
_VARIABLE = re.compile(r"\{([a-z]+:[^{}]*)\}")


@dataclass(frozen=True, slots=True)
class InstalledComponent:
    """A component as it is on the device: scripts by lifecycle step, variables filled in."""

    name: str
    version: str
    scripts: Mapping[str, str]
    work: Path


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
        """Installs a component; `merge` is the deployment's configuration update."""
        content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        name, version = content["ComponentName"], content["ComponentVersion"]
        defaults = copy.deepcopy(
            content.get("ComponentConfiguration", {}).get("DefaultConfiguration", {})
        )
        if self.dialect is Dialect.LITE:
            defaults = as_lite_recipe_configuration(defaults)
        merge_configuration(defaults, dict(merge or {}))
        access_control = defaults.pop("accessControl", {})
        work = self.add_component(
            name,
            configuration=defaults,
            access_control=access_control,
            uses_tes=TES in content.get("ComponentDependencies", {}),
        )
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
            **dict(_pointers(defaults)),
        }
        lifecycle = {**content.get("Lifecycle", {}), **_fitting(content).get("Lifecycle", {})}
        scripts = {step: self._script(entry, variables) for step, entry in lifecycle.items()}
        return InstalledComponent(name, version, scripts, work)

    @staticmethod
    def _script(entry: object, variables: Mapping[str, str]) -> str:
        text = entry["Script"] if isinstance(entry, dict) else str(entry)

        def value(found: re.Match[str]) -> str:
            if found[1] not in variables:
                raise SandboxError(f"recipe variable {found[0]} is not known here")
            return variables[found[1]]

        return _VARIABLE.sub(value, text)

    def environment(self, component: str) -> dict[str, str]:
        """The environment of a component's scripts. Lite gives TES only to who depends on it."""
        variables = self.device.environment(**self.ipc.environment(component))
        if self.dialect is Dialect.JAVA or component in self._uses_tes:
            variables.update(self.tes.environment(variables["SVCUID"]))
        return {**variables, "GGC_VERSION": "2.18.0"}

    @contextlib.contextmanager
    def running(self, component: InstalledComponent, step: str) -> Iterator[Process]:
        """Runs a lifecycle step; within, it runs. Stopped as a nucleus stops it."""
        process = Process(
            f"{component.name} {step}",
            ["sh", "-c", component.scripts[step]],
            log=self.root / f"{component.name}.log",
            environment=self.environment(component.name),
            folder=component.work,
        )
        process.start()
        try:
            yield process
        finally:
            process.stop(grace_seconds=15.0)


def _pointers(configuration: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """`configuration:/key/key` for each value; lists and maps as JSON, as both nuclei write them."""
    for key, value in configuration.items():
        here = f"{above}/{key}"
        yield f"configuration:{here}", value if isinstance(value, str) else json.dumps(value)
        if isinstance(value, dict):
            yield from _pointers(value, here)


def _fitting(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first manifest for this machine, as both nuclei choose."""
    for manifest in recipe["Manifests"]:
        wanted = manifest.get("Platform", {})
        fits_os = wanted.get("os", "*") in {"linux", "*"}
        if fits_os and wanted.get("architecture", "*") in {_machine(), "*"}:
            return dict(manifest)
    raise SandboxError(f"the recipe has no manifest for linux {_machine()}")


def _machine() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64"}.get(machine, machine)
