"""The launcher's promises, on archives so small that unpacking takes no time."""

import ast
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.pythons import older_pythons
from tools.build import ROOT
from tools.bundle import bundle

CLI = b"""
import json, os, sys
def main():
    if sys.argv[1:2] == ["wait"]:
        print("ready", flush=True)
        sys.stdin.read()
    names = ("DOCKERMGR_HOME", "DOCKERMGR_RUNTIME", "DOCKERMGR_ARTIFACT", "DOCKERMGR_REPAIR")
    print(json.dumps({"argv": sys.argv[1:], "path": sys.path, "cwd": os.getcwd(),
                      **{name: os.environ.get(name) for name in names}}))
    return 7
"""
REPAIRED = "unpacking"


def make(path: Path, cli: bytes = CLI, version: str = "1.0.0", machine: str = "") -> Path:
    """An archive with a dockermgr of one function, which returns 7."""
    launcher = {file.name: file.read_bytes() for file in (ROOT / "artifacts").glob("*.py")}
    launcher["__main__.py"] = launcher.pop("launcher.py")
    files = {
        "dockermgr_start.py": launcher.pop("dockermgr_start.py"),
        "dockermgr/__init__.py": b"",
        "dockermgr/cli.py": cli,
        "dockermgr/data.json": b"{}",
    }
    native = {abi: {"_native.so": abi.encode()} for abi in ("cp310", "cp311", "cp313")}
    bundle(path, launcher, files, native, version, machine or platform.machine())
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return make(tmp_path / "artifact/dockermgr.pyz")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(
    command: list[str | Path], home: Path | None, umask: int = -1, **variables: str
) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], **variables}
    if home:
        environment["DOCKERMGR_HOME"] = str(home)
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, umask=umask
    )


def start(archive: Path, home: Path | None, *arguments: str, **variables: str) -> dict[str, object]:
    result = run([sys.executable, archive, *(arguments or ("status",))], home, -1, **variables)
    assert result.returncode == 7, result.stderr
    return {**json.loads(result.stdout), "stderr": result.stderr}


def runtimes(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "runtime").iterdir())


def the_runtime(home: Path) -> Path:
    (name,) = (name for name in runtimes(home) if name != ".lock")
    return home / "runtime" / name


def test_first_start_unpacks_and_later_ones_do_not(archive: Path, home: Path) -> None:
    first = start(archive, home, "status", "-v")
    runtime = the_runtime(home)
    before = (runtime / ".complete").stat()
    second = start(archive, home, "status", "-v")
    assert first == second
    assert (runtime / ".complete").stat() == before
    assert first["argv"] == ["status", "-v"]
    assert first["DOCKERMGR_RUNTIME"] == str(runtime)
    assert first["DOCKERMGR_ARTIFACT"] == str(archive)
    assert isinstance(first["path"], list)
    assert first["path"][0] == str(runtime)
    assert not [p for p in first["path"] if p == str(archive) or p.endswith("-packages")]
    abi = "cp310" if sys.version_info < (3, 11) else "cp311"
    abi = "cp313" if sys.version_info >= (3, 13) else abi
    assert (runtime / "_native.so").read_text() == abi
    assert (runtime / f"dockermgr/__pycache__/cli.{sys.implementation.cache_tag}.pyc").exists()


def test_nothing_in_the_environment_comes_before_the_runtime(
    archive: Path, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "other/dockermgr").mkdir(parents=True)
    (tmp_path / "other/dockermgr/__init__.py").write_text("raise SystemExit('the wrong one')")
    for _ in range(2):
        start(archive, home, PYTHONPATH=str(tmp_path / "other"))


@pytest.mark.parametrize("umask", [0, 0o077])
def test_others_may_read_and_none_may_write(archive: Path, home: Path, umask: int) -> None:
    home.mkdir()
    run([sys.executable, archive, "serve"], home, umask=umask)
    for path in [*(home / "runtime").rglob("*"), *(home / "bin").rglob("*")]:
        executable = path.is_dir() or path.parent.name == "bin"
        assert path.stat().st_mode & 0o777 == (0o755 if executable else 0o644), path


@pytest.mark.parametrize("name", ["home", "a home", 'it\'s $HOME "quoted" `x`\n{next}', "hôme"])
def test_service_writes_the_commands_for_others(archive: Path, tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir()
    start(archive, home, "serve")
    for gone in ([], [the_runtime(home)]):  # afterwards only the archive is left to it
        for folder in gone:
            shutil.rmtree(folder)
        result = run([home / "bin/dockermgr", "pull", "a b", "*"], None, PYTHONPATH="/nowhere")
        assert result.returncode == 7, result.stderr
        said = json.loads(result.stdout)
        assert said["argv"] == ["pull", "a b", "*"]
        assert said["DOCKERMGR_HOME"] == str(home)
        assert said["DOCKERMGR_RUNTIME"] == str(the_runtime(home))
    link = tmp_path / "docker-credential-dockermgr"
    link.symlink_to(home / "bin" / link.name)
    assert json.loads(run([link, "get"], None).stdout) == {**said, "argv": ["credentials", "get"]}
    assert {path.name for path in (home / "bin").iterdir()} == {"dockermgr", link.name}


def test_command_survives_another_python_in_place_of_the_old(archive: Path, home: Path) -> None:
    start(archive, home, "serve")
    command = (home / "bin/dockermgr").read_text()
    old = the_runtime(home)
    other = old.rename(old.with_name(f"{old.name.rpartition('-')[0]}-39"))
    (home / "bin/dockermgr").write_text(command.replace(old.name, other.name))
    result = run([home / "bin/dockermgr"], None)
    assert result.returncode == 7, result.stderr
    assert json.loads(result.stdout)["DOCKERMGR_RUNTIME"] == str(old)
    assert REPAIRED not in result.stderr


def _remove(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("direct", [False, True], ids=["archive", "command"])
@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("dockermgr/cli.py", _remove),
        ("dockermgr/cli.py", _cut),
        ("dockermgr/__pycache__/cli.{}.pyc", _cut),
        ("__pycache__/dockermgr_start.{}.pyc", _cut),
        ("dockermgr_start.py", _remove),
        (".complete", _remove),
        (".complete", _cut),
    ],
)
def test_damaged_runtime_is_made_anew(
    archive: Path, home: Path, what: str, how: Callable[[Path], None], direct: bool
) -> None:
    start(archive, home, "serve")
    how(the_runtime(home) / what.format(sys.implementation.cache_tag))
    result = run([home / "bin/dockermgr"] if direct else [sys.executable, archive], home)
    assert result.returncode == 7, result.stderr
    assert json.loads(result.stdout)["DOCKERMGR_REPAIR"] is None
    start(archive, home)  # the command runs without the bytecode of the archive's first import
    assert start(archive, home)["stderr"] == ""
    assert len(runtimes(home)) == 2


def test_service_finds_damage_that_no_import_shows(archive: Path, home: Path) -> None:
    start(archive, home)
    _cut(the_runtime(home) / "dockermgr/data.json")
    assert "cut short" in str(start(archive, home, "serve")["stderr"])
    assert (the_runtime(home) / "dockermgr/data.json").read_text() == "{}"


def test_program_that_cannot_be_imported_is_not_tried_for_ever(tmp_path: Path, home: Path) -> None:
    archive = make(tmp_path / "broken.pyz", b"raise ValueError('a mistake of ours')")
    for _ in range(2):
        result = run([sys.executable, archive, "status"], home)
        assert result.returncode == 1
        assert "a mistake of ours" in result.stderr


def test_missing_part_of_python_is_named(tmp_path: Path, home: Path) -> None:
    archive = make(tmp_path / "x.pyz", b"raise ModuleNotFoundError('no sqlite3', name='sqlite3')")
    result = run([sys.executable, archive, "status"], home)
    assert result.returncode == 2
    assert result.stderr == f"dockermgr: {sys.executable} lacks a part of Python: no sqlite3\n"


@pytest.mark.parametrize("at", range(5))
def test_damaged_archive_is_refused(archive: Path, home: Path, at: int) -> None:
    with zipfile.ZipFile(archive) as content, archive.open("r+b") as file:
        for abi in ("cp310", "cp311", "cp313"):
            info = content.getinfo(f"native/{abi}/_native.so")
            # Past the local header, into the compressed text: the importer itself checks no sum.
            file.seek(info.header_offset + 30 + len(info.filename) + at)
            file.write(b"\x55")
    result = run([sys.executable, archive, "status"], home, HOME=str(home))
    assert result.returncode == 2
    assert f"{archive} is damaged, download it again" in result.stderr
    assert runtimes(home) == [".lock"]


def test_falls_back_to_a_cache_of_the_user(archive: Path, tmp_path: Path) -> None:
    user = tmp_path / "user"
    start(archive, None, HOME=str(user))
    assert the_runtime(user / ".cache/dockermgr").is_dir()
    start(archive, None, HOME="", XDG_CACHE_HOME=str(user / "xdg"))
    assert the_runtime(user / "xdg/dockermgr").is_dir()
    # A home that cannot be written, whoever asks: it lies below a file.
    said = start(archive, archive / "home", HOME=str(user))
    assert said["DOCKERMGR_HOME"] == str(archive / "home")
    assert said["DOCKERMGR_RUNTIME"] == str(the_runtime(user / ".cache/dockermgr"))


def test_nowhere_to_unpack_to(archive: Path) -> None:
    result = run([sys.executable, archive, "status"], archive / "home", HOME=f"{archive}/user")
    assert result.returncode == 2
    assert "set DOCKERMGR_HOME to a folder that this user may write to" in result.stderr


def test_artifact_of_another_machine(tmp_path: Path, home: Path) -> None:
    archive = make(tmp_path / "other.pyz", machine="riscv64")
    result = run([sys.executable, archive, "status"], home)
    assert result.returncode == 2
    assert result.stderr == (
        f"dockermgr: this file is for riscv64, this machine is {platform.machine()}\n"
    )


@pytest.mark.parametrize("python", older_pythons())
def test_old_python_says_what_it_lacks(archive: Path, home: Path, python: str) -> None:
    result = run([python, archive, "status"], home)
    assert result.returncode == 2
    assert result.stderr.startswith("dockermgr needs Python 3.10 or newer, this is 3.")
    assert python in result.stderr


def test_launcher_is_read_by_any_python_3() -> None:
    source = (ROOT / "artifacts/launcher.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.AnnAssign))]


@pytest.fixture
def running(home: Path, tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """A command of version 1 that runs on while newer services start."""
    archive = make(tmp_path / "1.0.0/dockermgr.pyz")
    with subprocess.Popen(
        [sys.executable, archive, "wait"],
        env={"DOCKERMGR_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process


def test_services_remove_old_runtimes_but_the_last_and_those_in_use(
    home: Path, tmp_path: Path, running: "subprocess.Popen[str]"
) -> None:
    def serve(version: str) -> set[str]:
        start(make(tmp_path / version / "dockermgr.pyz", version=version), home, "serve")
        return {name.partition("-")[0] for name in runtimes(home) if name != ".lock"}

    assert serve("2.0.0") == {"1.0.0", "2.0.0"}
    (home / "runtime/.new-abandoned").mkdir()
    assert serve("3.0.0") == {"1.0.0", "2.0.0", "3.0.0"}  # 1.0.0 is in use
    assert serve("4.0.0") == {"1.0.0", "3.0.0", "4.0.0"}
    running.communicate(timeout=10)
    (home / "runtime/.old-abandoned").mkdir()
    assert serve("3.0.0") == {"3.0.0", "4.0.0"}  # rolled back
    assert not [name for name in runtimes(home) if name.startswith((".new", ".old"))]
