"""What recipes must keep to for both nuclei, and whether the examples and their docs do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dockermgr.cli import COMMANDS

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "examples"
TES = "aws.greengrass.TokenExchangeService"


def recipes() -> list[Path]:
    return sorted(EXAMPLES.glob("*/recipe.yaml"))


@pytest.mark.parametrize("recipe", recipes(), ids=lambda path: path.parent.name)
def test_recipes_are_for_both_nuclei(recipe: Path) -> None:
    content = yaml.safe_load(recipe.read_text())
    assert len(recipe.read_bytes()) <= 16_000
    for name, dependency in content.get("ComponentDependencies", {}).items():
        assert dependency["DependencyType"] == "HARD", name
        assert dependency["VersionRequirement"].startswith(">="), name
        assert " <" in dependency["VersionRequirement"], name
    dependencies = set(content.get("ComponentDependencies", {}))
    (manifest,) = content["Manifests"]
    assert manifest["Platform"] == {"os": "linux", "runtime": "*"}
    steps = manifest["Lifecycle"]
    assert set(steps) <= {"install", "run"}
    for step in steps.values():
        assert isinstance(step.get("Timeout", 1), int)
        script = step["Script"]
        assert "exec " in script.splitlines()[-1]
        braces = [part.partition("}")[0] for part in script.split("{")[1:]]
        assert all(":" in part for part in braces), script
        assert script.count("{") == script.count("}")
        assert ("--pass tes" in script) <= (TES in dependencies)
    for artifact in manifest.get("Artifacts", []):
        assert artifact["Uri"].startswith("s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/")


def test_the_table_names_every_example() -> None:
    table = (EXAMPLES / "README.md").read_text()
    for recipe in recipes():
        name = recipe.parent.name
        assert f"]({name}" in table, name


def test_commands_that_are_written_down_exist() -> None:
    texts = [*EXAMPLES.rglob("*.md"), *recipes(), PROJECT / "docs" / "migration.md"]
    written = {
        command
        for text in texts
        for command in re.findall(
            r"(?:[`[]|exec |&& )dockermgr ([a-z]+)", text.read_text(encoding="utf-8")
        )
    }
    assert {"compose", "load", "run"} <= written <= {*COMMANDS}
