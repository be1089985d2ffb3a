"""What a nucleus of either dialect reads out of a recipe."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.sandbox.ipc import Dialect
from tests.sandbox.processes import SandboxError

_VARIABLE = re.compile(r"\{([a-z]+:[^{}]*)\}")
_RUNTIMES = {Dialect.JAVA: "aws_nucleus_classic", Dialect.LITE: "aws_nucleus_lite"}
_COMPARISON = re.compile(r"(>=|<=|>|<|=|\^|~)?\s*(\d+(?:\.\d+){0,2})")


@dataclass(frozen=True, slots=True)
class Step:
    """One lifecycle step, variables filled in."""

    script: str
    timeout_seconds: float | None
    """As the recipe says; None where it leaves that to the nucleus."""
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a component says of another that it needs."""

    requirement: str
    hard: bool


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe in YAML or JSON."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def dependencies(recipe: Mapping[str, Any], dialect: Dialect) -> dict[str, Dependency]:
    """By name. Java takes them for HARD unless told otherwise; Lite only those that say so."""
    default = "HARD" if dialect is Dialect.JAVA else ""
    return {
        name: Dependency(
            entry.get("VersionRequirement", ""), entry.get("DependencyType", default) == "HARD"
        )
        for name, entry in recipe.get("ComponentDependencies", {}).items()
    }


def steps(
    recipe: Mapping[str, Any], dialect: Dialect, variables: Mapping[str, str]
) -> dict[str, Step]:
    """The lifecycle of the first manifest for this machine. Raises SandboxError where there is none."""
    lifecycle = {**recipe.get("Lifecycle", {}), **_fitting(recipe, dialect).get("Lifecycle", {})}
    common = lifecycle.pop("Setenv", {})
    found = {}
    for name, entry in lifecycle.items():
        step = entry if isinstance(entry, dict) else {"Script": entry}
        # Java takes any letter case.
        if dialect is Dialect.JAVA and "Script" not in step:
            step = {key.capitalize(): value for key, value in step.items()}
        if "Script" not in step:
            raise SandboxError(f"{recipe['ComponentName']}: {name} has no Script")
        environment = {**common, **step.get("Setenv", {})}
        found[name] = Step(
            fill_in(step["Script"], variables),
            _literal(step.get("Timeout")),
            {key: fill_in(str(value), variables) for key, value in environment.items()},
        )
    return found


def _literal(timeout: object) -> float | None:
    if timeout is None:
        return None
    try:
        return float(str(timeout))
    except ValueError:
        raise SandboxError(f"Timeout {timeout} is no number: Lite takes no other") from None


def fill_in(text: str, variables: Mapping[str, str]) -> str:
    """A script with its recipe variables; an unknown one is an error here."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in variables:
            raise SandboxError(f"recipe variable {found[0]} is not known here")
        return variables[found[1]]

    return _VARIABLE.sub(value, text)


def pointers(configuration: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """`configuration:/key/key` for each value; lists and maps as JSON, as both nuclei write them."""
    for key, value in configuration.items():
        here = f"{above}/{key}"
        yield f"configuration:{here}", value if isinstance(value, str) else json.dumps(value)
        if isinstance(value, dict):
            yield from pointers(value, here)


def _fitting(recipe: Mapping[str, Any], dialect: Dialect) -> Mapping[str, Any]:
    """The first manifest that fits. One for Lite has to name a `runtime`; Java goes without."""
    device = {"os": "linux", "architecture": _machine(), "runtime": _RUNTIMES[dialect]}
    for manifest in recipe["Manifests"]:
        wanted = manifest.get("Platform", {})
        if dialect is Dialect.LITE and "runtime" not in wanted:
            continue
        if all(value in ("*", device.get(key)) for key, value in wanted.items()):
            return dict(manifest)
    raise SandboxError(f"the recipe has no manifest for {dialect.value} on linux {_machine()}")


def _machine() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64"}.get(machine, machine)


def satisfies(version: str, requirement: str, dialect: Dialect) -> bool:
    """Whether a version fits a requirement such as `>=1.0.0 <2.0.0`; `^` and `~` never do on Lite."""
    return all(
        _holds(sign or "=", _numbers(version), _numbers(bound), dialect)
        for sign, bound in _COMPARISON.findall(requirement)
    )


_Numbers = tuple[int, int, int]


def _holds(sign: str, version: _Numbers, bound: _Numbers, dialect: Dialect) -> bool:
    if sign in "^~":
        kept = 2 if sign == "~" or bound[0] == 0 else 1
        return dialect is Dialect.JAVA and version >= bound and version[:kept] == bound[:kept]
    return {
        ">=": version >= bound,
        "<=": version <= bound,
        ">": version > bound,
        "<": version < bound,
        "=": version == bound,
    }[sign]


def _numbers(version: str) -> _Numbers:
    major, minor, patch, *_ = [*map(int, version.partition("-")[0].split(".")), 0, 0]
    return major, minor, patch
