"""What gdk-config.json says is enough: a component of another name, version and author."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.test_component import wait_running
from tests.e2e.trees import build_tree, built_files, configure, copy_tree
from tests.sandbox.core import Core
from tests.sandbox.demo import PRIVATE
from tests.sandbox.device import Device
from tests.sandbox.images import push_image
from tests.sandbox.ipc import Dialect
from tools.build import ROOT, identity

NAME = "EdgeDocker"  # without a dot, which most names have
AUTHOR = 'Ann "the Builder" \\ Öz'
VERSION = "2.3.4-rc.1"
STANDARD, _, _ = identity(ROOT)


@pytest.fixture(scope="module")
def tree(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = copy_tree(tmp_path_factory.mktemp("renamed"))
    configure(tree, NAME, {"author": AUTHOR, "version": VERSION})
    done = build_tree(tree)
    assert done.returncode == 0, done.stderr
    return tree


@pytest.fixture
def core(fresh_device: Device) -> Iterator[Core]:
    push_image(fresh_device.ecr, "hello", "1.0.0")
    with Core(fresh_device, Dialect.LITE) as made:
        yield made


def test_everything_bears_the_name(tree: Path, artifacts: dict[str, Path]) -> None:
    files = built_files(tree / "greengrass-build")
    text = files["recipes/recipe.yaml"].decode()
    recipe = yaml.safe_load(text)
    assert (recipe["ComponentName"], recipe["ComponentVersion"]) == (NAME, VERSION)
    assert recipe["ComponentPublisher"] == AUTHOR
    access = recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]
    assert {key.partition(":")[0] for rules in access.values() for key in rules} == {NAME}
    assert STANDARD not in text
    bill = json.loads(files[f"artifacts/{NAME}/{VERSION}/dockermgr.cdx.json"])
    about = bill["metadata"]["component"]
    assert (about["name"], about["version"], about["publisher"]) == (NAME, VERSION, AUTHOR)
    assert STANDARD not in json.dumps(bill)
    for path in artifacts.values():  # what runs is the same
        assert files[f"artifacts/{NAME}/{VERSION}/{path.name}"] == path.read_bytes()


def test_the_version_may_be_left_to_the_gdk(tree: Path, tmp_path: Path) -> None:
    """It looks in the folder of that name, and puts the number in when it publishes."""
    other = copy_tree(tmp_path / "tree")
    out = shutil.copytree(tree / "greengrass-build", other / "greengrass-build")
    before = built_files(out)
    configure(other, NAME, {"author": AUTHOR, "version": "NEXT_PATCH"})
    assert build_tree(other).returncode == 0
    after = built_files(out)
    assert list(after) == [path.replace(VERSION, "NEXT_PATCH") for path in before]
    bill = json.loads(after[f"artifacts/{NAME}/NEXT_PATCH/dockermgr.cdx.json"])
    assert "version" not in bill["metadata"]["component"]


@pytest.mark.parametrize(
    ("name", "component", "said"),
    [
        ("a b", {}, "name 'a b' is not one"),
        ("a/b", {}, "name 'a/b' is not one"),
        (NAME, {"version": "1.0"}, "version '1.0' is not one"),
        (NAME, {"version": None}, "version None is not one"),
    ],
)
def test_what_greengrass_would_refuse_is_refused(
    tmp_path: Path, name: str, component: dict[str, object], said: str
) -> None:
    tree = copy_tree(tmp_path / "tree")
    configure(tree, name, component)
    done = build_tree(tree)
    assert done.returncode == 1
    assert done.stderr.startswith(f"build: {tree}/gdk-config.json: {said}")
    assert not (tree / "greengrass-build").exists()


def test_the_service_knows_its_name(tree: Path, core: Core) -> None:
    out = tree / "greengrass-build"
    (artifacts,) = (out / "artifacts").glob("*/*")
    manager = core.install(out / "recipes/recipe.yaml", artifacts, merge={"images": [PRIVATE]})
    assert manager.work == core.root / "work" / NAME
    with core.running(manager, "startup") as process:
        wait_running(core, process)
        command = manager.work / "bin" / "dockermgr"
        done = subprocess.run(
            [command, "status", "--json"],
            env=core.environment(NAME),
            cwd=core.add_component("com.example.Other"),
            capture_output=True,
            text=True,
            check=False,
        )
        log = process.log_text()

    assert done.returncode == 0, done.stderr
    (image,) = json.loads(done.stdout)["components"][NAME]["images"]
    assert image["image"] == PRIVATE
    assert core.ipc.states == [(NAME, "RUNNING")]
    assert {message.json()["component"] for message in core.ipc.published} == {NAME}
    assert not [call for call in core.ipc.calls if call.error]
    assert "WARNING" not in log
    assert STANDARD not in log + done.stdout
