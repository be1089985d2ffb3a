"""The pinned wheels of requirements/runtime.lock: fetched once with pip, checked, and kept."""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Everything with native code; all else is taken as a pure-Python wheel, which runs on each version and
# takes less memory (charset_normalizer has both).
NATIVE = "awscrt"
PER_PYTHON = "backports-zstd"
# Runs without its native part, which `bundle` leaves out, but has no wheel without it.
NATIVE_IN_PART = "pyyaml"
# The manylinux profile of CPython's own minimum: glibc 2.17, which every supported device has.
PLATFORM = "manylinux2014"
# Our name of a build of the native library: (Python version, ABI) as pip wants them.
ABIS = {"cp310": ("3.10", "cp310"), "cp311": ("3.11", "abi3"), "cp313": ("3.13", "abi3")}
# The Python versions that each of these serves, as far as they have builds of their own.
PYTHONS = {"cp310": ("3.10",), "cp311": ("3.11", "3.12"), "cp313": ("3.13",)}


@dataclass(frozen=True)
class Pin:
    """One line of the lock."""

    name: str
    version: str
    sha256: frozenset[str]
    required_by: tuple[str, ...]
    text: str  # as it stands in the lock


class LockError(RuntimeError):
    """The lock cannot be read, or a download is not what it pins."""


def read_lock(path: Path) -> list[Pin]:
    """The pins of a lock with hashes, as uv and pip-compile write it, without those of Windows."""
    text = re.sub(r"(?m)^#.*\n", "", path.read_text(encoding="utf-8"))
    pins = []
    for entry in re.split(r"(?m)^(?=\S)", text):
        if not entry.strip():
            continue
        head = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*([^\\]*))?", entry)
        hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
        if not head or not hashes:
            raise LockError(f"{path}: not a pin with hashes: {entry.splitlines()[0]}")
        marker = (head[3] or "").strip()
        if marker == "sys_platform == 'win32'":
            continue
        if marker and marker != "python_full_version < '3.14'":
            raise LockError(f"{path}: {head[1]} has a condition the build does not know: {marker}")
        pins.append(Pin(head[1], head[2], hashes, _required_by(entry), entry))
    return pins


def _required_by(entry: str) -> tuple[str, ...]:
    """The names in its comments: `# via one`, or `# via` and then one on each line."""
    comments = re.findall(r"(?m)^ +# +(?:via(?: |$))?(.*)$", entry)
    return tuple(words[0] for words in map(str.split, comments) if words)


def pure_wheels(pins: list[Pin], folder: Path) -> list[Path]:
    """The wheels without native code."""
    wanted = [pin for pin in pins if pin.name not in (NATIVE, PER_PYTHON, NATIVE_IN_PART)]
    if not all(_cached(pin, folder, "none-any") for pin in wanted):
        options = ["--platform=any", "--abi=none", "--implementation=py", "--python-version=3.10"]
        _download(wanted, folder, options)
    found = [_require(pin, folder, "none-any") for pin in wanted]
    return [*found, _built(pins, NATIVE_IN_PART, folder, "x86_64", "3.10", "cp310")]


def native_wheels(pins: list[Pin], folder: Path, machine: str) -> dict[str, list[Path]]:
    """The wheels with native code for one machine, by ABI name."""
    return {
        name: [
            _built(pins, NATIVE, folder, machine, python, abi),
            *(
                _built(pins, PER_PYTHON, folder, machine, own, f"cp{own.replace('.', '')}")
                for own in PYTHONS[name]
            ),
        ]
        for name, (python, abi) in ABIS.items()
    }


def _built(
    pins: list[Pin], package: str, folder: Path, machine: str, python: str, abi: str
) -> Path:
    (pin,) = (pin for pin in pins if pin.name == package)
    tag = f"cp{python.replace('.', '')}-{abi}-*{PLATFORM}_{machine}*"
    if not _cached(pin, folder, tag):
        options = [f"--abi={abi}", f"--python-version={python}", "--implementation=cp"]
        _download([pin], folder, [f"--platform={PLATFORM}_{machine}", *options])
    return _require(pin, folder, tag)


def files_of(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, archive.read(info)


def _cached(pin: Pin, folder: Path, tag: str) -> Path | None:
    """The wheel in the folder, if it is there and its content is pinned."""
    stem = re.sub(r"[-_.]+", "_", pin.name)
    for wheel in sorted(folder.glob(f"{stem}-{pin.version}-*{tag}.whl")):
        if hashlib.sha256(wheel.read_bytes()).hexdigest() in pin.sha256:
            return wheel
    return None


def _require(pin: Pin, folder: Path, tag: str) -> Path:
    wheel = _cached(pin, folder, tag)
    if wheel is None:
        raise LockError(f"no wheel {tag} of {pin.name} {pin.version} with a pinned digest")
    return wheel


def _download(pins: list[Pin], folder: Path, options: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fixed = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command = [*_pip(folder.parent), "download", *fixed, "--only-binary=:all:", *options]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        requirements = Path(temporary, "requirements.txt")
        requirements.write_text("".join(pin.text for pin in pins), encoding="utf-8")
        subprocess.run([*command, "--dest", temporary, "-r", str(requirements)], check=True)
        for wheel in Path(temporary).glob("*.whl"):  # in one step: another build may be reading
            wheel.replace(folder / wheel.name)


def _pip(build: Path) -> list[str]:
    """A pip to run: this Python's, or one in an environment of its own (bare Debian has none)."""
    here = [sys.executable, "-m", "pip"]
    if subprocess.run([*here, "--version"], capture_output=True, check=False).returncode == 0:
        return here
    python = build / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(build / "venv")], check=True)
    return [str(python), "-m", "pip"]
