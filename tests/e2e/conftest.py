"""Fixtures of the tests of the built files."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.deploying import STAYS
from tests.e2e.trees import configure, copy_tree
from tests.sandbox.core import Core
from tests.sandbox.deployment import Deployer
from tests.sandbox.device import Device
from tests.sandbox.images import push_image
from tests.sandbox.ipc import Dialect
from tools.build import MACHINES, ROOT, build, identity

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


NEXT_VERSION = "0.2.0"


@pytest.fixture(scope="session")
def next_version(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build of a version to come, whose state file has one step more: of a changed copy."""
    root, out = copy_tree(tmp_path_factory.mktemp("next") / "tree"), tmp_path_factory.mktemp("out")
    configure(root, NAME, {"version": NEXT_VERSION})
    _change(root / "src/dockermgr/__init__.py", r'(?<=__version__ = ")[^"]+', NEXT_VERSION)
    step = '("ALTER TABLE images ADD COLUMN last_used REAL NOT NULL DEFAULT 0",),'
    schema = root / "src/dockermgr/state_schema.py"
    _change(schema, r'\n\)\n(?="""What leads)', f"\n    {step}\n)\n")
    here = platform.machine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.build.MACHINES", {here: MACHINES[here]})
        build(root, out)
    return out


def _change(path: Path, pattern: str, text: str) -> None:
    changed, count = re.subn(pattern, text, path.read_text(encoding="utf-8"))
    assert count == 1, path
    path.write_text(changed, encoding="utf-8")


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def nucleus(request: pytest.FixtureRequest, fresh_device: Device) -> Iterator[Deployer]:
    """A nucleus that deploys; its transcript is in the test's output."""
    push_image(fresh_device.ecr, "hello", "1.0.0", command=STAYS)
    push_image(fresh_device.public, "library/tool", "1.27", command=STAYS)
    with Core(fresh_device, request.param) as core:
        made = Deployer(core)
        try:
            with made:
                yield made
        finally:
            print(f"\n{request.param.value}\n{made.transcript.text()}")
