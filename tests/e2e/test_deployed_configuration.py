"""Numbers and truth values of the configuration, as each nucleus hands them over."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.deploying import MANAGER, manager
from tests.sandbox.demo import PRIVATE, PUBLIC
from tests.sandbox.deployment import Deployer, Outcome, Part
from tests.sandbox.ipc import Dialect

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]


def of_recipe(folder: Path, form: str, defaults: dict[str, Any]) -> Part:
    """The built component with other defaults, as a YAML or as a JSON recipe."""
    part = manager()
    recipe = yaml.safe_load(part.recipe.read_text(encoding="utf-8"))
    recipe["ComponentConfiguration"]["DefaultConfiguration"].update(defaults)
    path = folder / f"recipe.{form}"
    path.write_text(json.dumps(recipe) if form == "json" else yaml.safe_dump(recipe))
    return Part(path, part.artifacts)


def settings(kind: type) -> dict[str, Any]:
    """Settings whose effect can be seen; `str` as a YAML recipe on Lite gives them, `float` as JSON may."""
    number = {"str": str, "float": float, "int": int}[kind.__name__]
    truth: Any = (lambda value: str(value).lower()) if kind is str else bool
    return {
        "images": [{"uri": PUBLIC, "required": truth(False)}, {"uri": PRIVATE, "required": True}],
        "requireDigest": truth(True),
        "maxConcurrentPulls": number(1),
        "startup": {"waitSeconds": number(120), "onFailure": "continue"},
        "retry": {"initialSeconds": number(1), "maxSeconds": number(5), "maxAttempts": number(3)},
        "status": {"heartbeatSeconds": number(1)},
        "minFreeBytes": number(1000),
    }


def assert_understood(nucleus: Deployer) -> None:
    """The settings have their effect, and none is complained of."""
    began = time.monotonic()

    def summaries() -> list[dict[str, Any]]:
        since = [m for m in nucleus.core.ipc.published if m.at_seconds > began]
        return [m.json() for m in since if m.topic == "dockermgr/status"]

    # Two heartbeats: of one second each, and not of 300.
    nucleus.wait_until(lambda: len(summaries()) >= 3, "heartbeats")
    newest = summaries()[-1]
    assert newest["configurationProblems"] == []
    assert newest["counts"]["FAILED"] == 2
    failures = [m.json()["error"] for m in nucleus.core.ipc.published if "image" in m.json()]
    assert {error["code"] for error in failures if error} == {"REGISTRY_NOT_ALLOWED"}


@pytest.mark.parametrize(
    ("nucleus", "form"),
    [(Dialect.JAVA, "yaml"), (Dialect.LITE, "yaml"), (Dialect.LITE, "json")],
    indirect=["nucleus"],
)
def test_defaults_of_a_recipe_are_understood_in_either_form(
    nucleus: Deployer, tmp_path: Path, form: str
) -> None:
    assert nucleus.deploy(of_recipe(tmp_path, form, settings(int))) is Outcome.SUCCEEDED
    stored = nucleus.core.configuration(MANAGER)["maxConcurrentPulls"]
    as_text = nucleus.core.dialect is Dialect.LITE and form == "yaml"
    assert stored == ("1" if as_text else 1)
    assert_understood(nucleus)


@pytest.mark.parametrize(
    ("nucleus", "kind"), [(Dialect.JAVA, str), (Dialect.LITE, float)], indirect=["nucleus"]
)
def test_a_deployments_texts_and_numbers_are_understood(nucleus: Deployer, kind: type) -> None:
    assert nucleus.deploy(manager(settings(kind))) is Outcome.SUCCEEDED
    assert_understood(nucleus)
