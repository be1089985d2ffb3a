"""What recipes must keep to for both nuclei, and whether the examples and their docs do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dockermgr.cli import COMMANDS

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "examples"


def recipes() -> list[Path]:
    return sorted(EXAMPLES.glob("*/recipe.yaml"))


@pytest.mark.parametrize("recipe", recipes(), ids=lambda path: path.parent.name)
def test_recipes_are_for_both_nuclei(recipe: Path) -> None:
    """What `dockermgr lint` does not know: it finds nothing in them, as test_lint.py checks."""
    content = yaml.safe_load(recipe.read_text())
    assert len(recipe.read_bytes()) <= 16_000
    for name, dependency in content.get("ComponentDependencies", {}).items():
        assert dependency["DependencyType"] == "HARD", name
        assert re.match(r">=\S+ <\S+$", dependency["VersionRequirement"]), name
    (manifest,) = content["Manifests"]
    assert manifest["Platform"] == {"os": "linux", "runtime": "*"}
    for step in manifest["Lifecycle"].values():
        assert "exec " in step["Script"].splitlines()[-1]
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
