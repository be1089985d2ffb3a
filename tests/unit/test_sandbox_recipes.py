"""What the nucleus of the tests reads out of recipes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.ipc import Dialect
from tests.sandbox.processes import SandboxError
from tests.sandbox.recipes import dependencies, pointers, satisfies, steps

JAVA, LITE = Dialect.JAVA, Dialect.LITE


@pytest.mark.parametrize(
    ("version", "requirement", "java", "lite"),
    [
        ("1.0.0", ">=1.0.0 <2.0.0", True, True),
        ("1.9.9", ">=1.0.0 <2.0.0", True, True),
        ("2.0.0", ">=1.0.0 <2.0.0", False, False),
        ("0.9.0", ">=1.0.0 <2.0.0", False, False),
        ("1.2.3", "1.2.3", True, True),
        ("1.2.4", "=1.2.3", False, False),
        ("10.0.0", ">9.0.0 <=10.0.0", True, True),
        ("1.2.3", "", True, True),
        ("1.4.0", "^1.2.0", True, False),
        ("2.0.0", "^1.2.0", False, False),
        ("0.2.0", "^0.1.0", False, False),
        ("1.2.9", "~1.2.0", True, False),
        ("1.3.0", "~1.2.0", False, False),
    ],
)
def test_which_versions_meet_a_requirement(
    version: str, requirement: str, java: bool, lite: bool
) -> None:
    assert satisfies(version, requirement, JAVA) is java
    assert satisfies(version, requirement, LITE) is lite


def recipe(*manifests: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"ComponentName": "com.example.App", "Manifests": [*manifests], **more}


def of(platform: dict[str, str] | None, script: str = "true", **step: object) -> dict[str, Any]:
    manifest: dict[str, Any] = {"Lifecycle": {"run": {"Script": script, **step}}}
    return manifest if platform is None else {**manifest, "Platform": platform}


def script(content: dict[str, Any], dialect: Dialect) -> str:
    return steps(content, dialect, {"work:path": "/work", "configuration:/a/b": "5"})["run"].script


def test_the_first_manifest_that_fits_is_taken() -> None:
    content = recipe(
        of({"os": "windows", "runtime": "*"}, "no"),
        of({"os": "linux", "architecture": "sparc", "runtime": "*"}, "no"),
        of({"os": "linux"}, "java"),
        of({"os": "linux", "runtime": "*"}, "both"),
    )
    assert (script(content, JAVA), script(content, LITE)) == ("java", "both")


@pytest.mark.parametrize("platform", [None, {"os": "linux"}, {"os": "all", "runtime": "*"}])
def test_lite_wants_a_runtime_to_be_named(platform: dict[str, str] | None) -> None:
    with pytest.raises(SandboxError, match="no manifest for lite"):
        script(recipe(of(platform)), LITE)


def test_each_runtime_is_of_one_nucleus() -> None:
    content = recipe(
        of({"os": "linux", "runtime": "aws_nucleus_lite"}, "lite"), of({"os": "linux"}, "java")
    )
    assert (script(content, JAVA), script(content, LITE)) == ("java", "lite")


def test_the_case_of_keys_matters_to_lite() -> None:
    manifest = {
        "Platform": {"os": "linux", "runtime": "*"},
        "Lifecycle": {"run": {"script": "true"}},
    }
    assert script(recipe(manifest), JAVA) == "true"
    with pytest.raises(SandboxError, match="run has no Script"):
        script(recipe(manifest), LITE)


def test_variables_are_filled_in_and_unknown_ones_are_an_error() -> None:
    platform = {"os": "linux", "runtime": "*"}
    assert script(recipe(of(platform, "{work:path} {configuration:/a/b}")), LITE) == "/work 5"
    with pytest.raises(SandboxError, match="is not known here"):
        script(recipe(of(platform, "{work:pth}")), JAVA)


def test_time_limits_are_literal_numbers() -> None:
    platform = {"os": "linux", "runtime": "*"}
    assert steps(recipe(of(platform, Timeout=7)), LITE, {})["run"].timeout_seconds == 7
    assert steps(recipe(of(platform)), LITE, {})["run"].timeout_seconds is None
    with pytest.raises(SandboxError, match="is no number"):
        steps(recipe(of(platform, Timeout="{configuration:/a/b}")), LITE, {})


def test_variables_of_the_environment() -> None:
    manifest = of({"os": "linux", "runtime": "*"}, Setenv={"ONE": "{work:path}"})
    manifest["Lifecycle"]["Setenv"] = {"ONE": "1", "TWO": 2}
    step = steps(recipe(manifest), JAVA, {"work:path": "/work"})["run"]
    assert step.environment == {"ONE": "/work", "TWO": "2"}


def test_a_dependency_is_hard_on_lite_only_when_it_says_so() -> None:
    content = recipe(
        ComponentDependencies={
            "a": {"VersionRequirement": ">=1.0.0"},
            "b": {"DependencyType": "HARD"},
            "c": {"DependencyType": "SOFT"},
        }
    )
    hard = {
        dialect: [name for name, item in dependencies(content, dialect).items() if item.hard]
        for dialect in Dialect
    }
    assert hard == {JAVA: ["a", "b"], LITE: ["b"]}
    assert dependencies(content, JAVA)["a"].requirement == ">=1.0.0"


def test_configuration_is_found_by_pointers() -> None:
    found = dict(pointers({"a": {"b": 5, "c": "text"}, "d": [1, True]}))
    assert found["configuration:/a/b"] == "5"
    assert found["configuration:/a/c"] == "text"
    assert found["configuration:/d"] == "[1, true]"
