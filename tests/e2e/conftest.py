"""Fixtures of the tests of the built files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.build import MACHINES, ROOT, identity

OUT = ROOT / "greengrass-build"
NAME, _, VERSION = identity(ROOT)


@pytest.fixture(scope="session")
def artifacts() -> dict[str, Path]:
    """The built files by architecture; built if they are missing or older than what they are of."""
    folder = OUT / "artifacts" / NAME / VERSION
    found = {label: folder / f"dockermgr-linux-{label}.pyz" for label in MACHINES.values()}
    files = ("LICENSE", "gdk-config.json", "recipe.yaml", "requirements/runtime.lock")
    sources = [ROOT / file for file in files]
    for name in ("src", "artifacts", "tools"):
        sources += [path for path in (ROOT / name).rglob("*") if path.suffix not in (".pyc", "")]
    newest = max(path.stat().st_mtime for path in sources)
    if any(not path.exists() or path.stat().st_mtime < newest for path in found.values()):
        subprocess.run([sys.executable, ROOT / "tools/build.py"], check=True)
    return found
