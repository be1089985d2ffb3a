"""The built file checks recipes, ours and the examples', with nothing else installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import OUT
from tools.build import MACHINES, ROOT

WRONG = """
RecipeFormatVersion: "2020-01-25"
Manifests:
  - Platform: {os: linux, runtime: "*"}
    Lifecycle:
      run: exec docker run --rm --init nginx:1.27 sh -c 'echo ${HOME}'
    Artifacts: [{Uri: "docker:nginx:1.27"}]
"""


def test_the_built_command_checks_recipes(artifacts: dict[str, Path], tmp_path: Path) -> None:
    archive = artifacts[MACHINES[os.uname().machine]]
    (tmp_path / "recipe.yaml").write_text(WRONG)
    right = [
        ROOT / "recipe.yaml",
        OUT / "recipes/recipe.yaml",
        *(ROOT / "examples").glob("*/recipe.yaml"),
    ]

    def lint(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", archive, "lint", *words],
            env={
                "PATH": os.defpath,
                "HOME": str(tmp_path),
                "DOCKERMGR_HOME": str(tmp_path / "home"),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    clean = lint("--strict", *right)
    assert (clean.returncode, clean.stdout, clean.stderr) == (0, "", "")
    wrong = lint("--json", "recipe.yaml")
    assert wrong.returncode == 2
    found = [json.loads(line) for line in wrong.stdout.splitlines()]
    assert [(each["rule"], each["line"], each["column"]) for each in found] == [
        ("lite-braces", 6, 64),
        ("docker-artifact", 7, 23),
    ]
