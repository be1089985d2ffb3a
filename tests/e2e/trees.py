"""Copies of what the build reads, to be changed and built elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.build import ROOT

FOLDERS = ("artifacts", "requirements", "src", "tools")
FILES = ("LICENSE", "gdk-config.json", "recipe.yaml")


def copy_tree(to: Path) -> Path:
    """The project's files, and a link to the wheels that are here already."""
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, to)
    (to / "build").symlink_to(ROOT / "build")
    return to


def configure(tree: Path, name: str, component: Mapping[str, object]) -> None:
    """Changes gdk-config.json, and nothing else."""
    path = tree / "gdk-config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    ((_, before),) = config["component"].items()
    config["component"] = {name: {**before, **component}}
    path.write_text(json.dumps(config), encoding="utf-8")


def build_tree(
    tree: Path, python: str = sys.executable, umask: int = -1, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the build as `make build` does; what it left is in `greengrass-build`."""
    return subprocess.run(
        [python, tree / "tools/build.py"],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        umask=umask,
        check=False,
    )


def built_files(out: Path) -> dict[str, bytes]:
    """All files in a build folder, by path."""
    found = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}
