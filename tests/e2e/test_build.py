"""What `make build` leaves is what a device needs, on each Python and with nothing else installed."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest

from tests.e2e.pythons import supported_pythons
from tests.e2e.trees import build_tree, built_files, copy_tree
from tools.build import MACHINES, ROOT, identity
from tools.wheels import files_of

OUT = ROOT / "greengrass-build"
NAME, _, VERSION = identity(ROOT)
HERE = MACHINES[os.uname().machine]
NGINX = "docker:nginx:1.27"
# The ELF header's e_machine.
ELF_MACHINES = {"amd64": 62, "aarch64": 183}
SELF_TEST = """
import sys
sys.path.insert(0, sys.argv[1])
import awscrt.io, awsiot.greengrasscoreipc.clientv2, boto3, botocore.loaders, docker, tenacity
awscrt.io.EventLoopGroup(1)
names = {"region_name": "eu-central-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
for service in ("ecr", "s3", "secretsmanager", "sts"):
    assert "eu-central-1" in boto3.client(service, **names).meta.endpoint_url
names["region_name"] = "us-east-1"
assert boto3.client("ecr-public", **names).meta.endpoint_url == (
    "https://api.ecr-public.us-east-1.amazonaws.com")
docker.DockerClient(base_url="unix:///nowhere", version="1.41").close()
import yaml
assert yaml.safe_load("a: [1]") == {"a": [1]}
from dockermgr.compression import Tap, unpacked
if sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd
packed = zstd.compress(b"abc")
assert b"".join(unpacked(Tap(iter([packed]), summed=False), packed)) == b"abc"
for name, module in list(sys.modules.items()):
    if name.partition(".")[0] in ("awscrt", "_awscrt", "awsiot", "boto3", "docker", "tenacity",
                                  "yaml", "backports", "urllib3", "requests", "certifi",
                                  "idna", "charset_normalizer"):
        assert not getattr(module, "__file__", None) or module.__file__.startswith(sys.argv[1]), name
print("all there")
"""


@pytest.fixture
def archive(artifacts: dict[str, Path]) -> Path:
    """The built file for this machine."""
    return artifacts[HERE]


def clean(home: Path) -> dict[str, str]:
    """An environment without anything of this one; the user's home is there, and empty."""
    user = home.parent / "user"
    user.mkdir(exist_ok=True)
    return {"PATH": os.defpath, "HOME": str(user), "DOCKERMGR_HOME": str(home)}


def parse(command: list[str | Path], home: Path) -> "subprocess.CompletedProcess[str]":
    result = subprocess.run(
        [*command, "parse", NGINX], env=clean(home), capture_output=True, text=True, cwd="/"
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["reference"] == "docker.io/library/nginx:1.27"
    return result


def runtime_of(home: Path) -> Path:
    (found,) = (home / "runtime").glob("[!.]*")
    return found


@pytest.mark.parametrize("python", supported_pythons())
def test_runs_on_each_python(archive: Path, tmp_path: Path, python: str) -> None:
    home = tmp_path / "a home"
    began = time.monotonic()
    assert parse([python, archive], home).stderr == ""
    first = time.monotonic() - began
    began = time.monotonic()
    parse([python, "-I", "-S", archive], home)
    later = time.monotonic() - began
    assert later < first < 30  # measured: 2 s and 0.05 s; the limit is for a machine under load
    assert not list((tmp_path / "user").iterdir())
    runtime = runtime_of(home)

    command = [python, "-I", "-S", "-W", "ignore", "-c", SELF_TEST, str(runtime)]
    result = subprocess.run(command, env=clean(home), capture_output=True, text=True)
    assert result.stdout == "all there\n", result.stderr
    # How the service starts its children.
    child = [python, "-m", "dockermgr", "parse", NGINX]
    environment = {**clean(home), "PYTHONPATH": str(runtime)}
    result = subprocess.run(child, env=environment, capture_output=True, text=True, cwd="/")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("python", supported_pythons()[:: len(supported_pythons()) - 1 or 1])
def test_build_is_reproducible(artifacts: dict[str, Path], tmp_path: Path, python: str) -> None:
    """By the oldest and the newest Python, elsewhere, for somebody with other habits."""
    tree = copy_tree(tmp_path / "a tree")
    habits = {"TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "7"}
    done = build_tree(tree, python, umask=0o077, **habits)
    assert done.returncode == 0, done.stderr
    assert built_files(tree / "greengrass-build") == built_files(OUT)
    for path in (path for path in OUT.rglob("*") if path.is_file()):
        again = tree / "greengrass-build" / path.relative_to(OUT)
        assert again.stat().st_mode == path.stat().st_mode, path


def test_nothing_else_is_left_to_be_published(artifacts: dict[str, Path]) -> None:
    folder = f"artifacts/{NAME}/{VERSION}"
    assert set(built_files(OUT)) == {
        "recipes/recipe.yaml",
        f"{folder}/dockermgr-linux-amd64.pyz",
        f"{folder}/dockermgr-linux-aarch64.pyz",
        # The recipe does not name these: they are for people, and no device loads them.
        f"{folder}/dockermgr.cdx.json",
        f"{folder}/THIRD_PARTY_LICENSES.txt",
    }


@pytest.mark.parametrize("label", MACHINES.values())
def test_contents(artifacts: dict[str, Path], label: str) -> None:
    path = artifacts[label]
    assert path.stat().st_size < 20_000_000
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        native = [name for name in archive.namelist() if name.startswith("native/")]
        assert Counter(name.split("/")[1] for name in native) == {
            "cp310": 2,
            "cp311": 3,
            "cp313": 2,
        }
        assert sum("zstd" in name for name in native) == 4  # one for each Python
        for name in native:
            content = archive.read(name)
            assert content[:4] == b"\x7fELF"
            assert struct.unpack_from("<H", content, 18)[0] == ELF_MACHINES[label]
            # The C library of the oldest systems that have a Python 3.10.
            assert max(map(int, re.findall(rb"GLIBC_2\.(\d+)", content))) <= 17, name
            assert content in from_wheels(name, label), name
        with tarfile.open(fileobj=BytesIO(archive.read("lib.tar"))) as library:
            names = set(library.getnames())
    assert {"dockermgr/cli.py", "dockermgr/py.typed", "dockermgr_start.py"} <= names
    data = {name.split("/")[2] for name in names if name.startswith("botocore/data/")}
    assert {name for name in data if not name.endswith(".json")} == {
        "ecr",
        "ecr-public",
        "s3",
        "secretsmanager",
        "sts",
    }
    assert not [name for name in names if "__pycache__" in name or name.endswith((".so", ".pyc"))]
    for package in {name for name in names if name.endswith(".dist-info/METADATA")}:
        folder = package.rpartition("/")[0]
        licences = [n for n in names if n.startswith(folder) and "LICENSE" in n.upper()]
        assert licences or folder.startswith("awsiotsdk-"), folder  # see test_sbom.py


def test_only_native_libraries_differ_by_machine(artifacts: dict[str, Path]) -> None:
    contents = []
    for path in artifacts.values():
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.startswith("native/")]
            contents.append({name: archive.read(name) for name in names})
    one, other = contents
    assert one.keys() == other.keys()
    # The machine and the digests of its libraries stand in these.
    assert {name for name in one if one[name] != other[name]} == {"__main__.py", "manifest.json"}


def from_wheels(name: str, label: str) -> list[bytes]:
    """What the wheels for a machine and an ABI have under the name of a native library."""
    _, abi, path = name.split("/", 2)
    machine = {other: machine for machine, other in MACHINES.items()}[label]
    tag = (
        abi
        if path.startswith("_awscrt")
        else f"cp{''.join(re.findall(r'cpython-(3[0-9]+)', path))}"
    )
    wheels = (ROOT / "build/wheels").glob(f"*-{tag}-*_{machine}*.whl")
    return [content for wheel in wheels for file, content in files_of(wheel) if file == path]


def test_concurrent_first_starts(archive: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(archive), "parse", NGINX]
    processes = [
        subprocess.Popen(command, env=clean(tmp_path / "home"), stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=100)
        assert process.returncode == 0
        assert json.loads(output)["tag"] == "1.27"
    folder = tmp_path / "home/runtime"
    assert set(folder.iterdir()) == {folder / ".lock", runtime_of(tmp_path / "home")}


@pytest.mark.parametrize("files", [0, 1, 50, 300, 10_000])
def test_start_after_a_kill_in_the_midst_of_unpacking(
    archive: Path, tmp_path: Path, files: int
) -> None:
    """Killed once that many files are written; after the last, while it waits for the disk."""
    home = tmp_path / "home"
    with subprocess.Popen(
        [sys.executable, archive, "parse", NGINX], env=clean(home), stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            walked = [w for new in home.glob("runtime/.new-*") for w in os.walk(new)]
            written = [name for _, _, names in walked for name in names]
            if walked and (len(written) >= files or ".complete" in written):
                process.send_signal(signal.SIGKILL)
    parse([sys.executable, archive], home)
    assert set((home / "runtime").iterdir()) == {home / "runtime/.lock", runtime_of(home)}


def test_artifact_folder_may_be_read_only(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    copy = folder / archive.name
    copy.write_bytes(archive.read_bytes())
    copy.chmod(0o444)
    folder.chmod(0o555)
    parse([sys.executable, copy], tmp_path / "home")
    assert list(folder.iterdir()) == [copy]  # root could have written nonetheless
    folder.chmod(0o755)
