"""Images with a real Python and real packages, made without network: what a simple Dockerfile asks for.

The Python is the one that runs the tests and the packages are those of its environment, so they fit
each other, and this machine's C library, whichever they are.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.sandbox.archives import SavedImage
from tests.sandbox.images import Layer, busybox_layer, file_layer
from tests.sandbox.processes import SandboxError

_PREFIX = "usr/local"
_LIBRARY = f"{_PREFIX}/lib/python{sys.version_info.major}.{sys.version_info.minor}"
"""Python looks for its library beside the folder that its program is in."""

_IDLE = {
    *("__pycache__", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data"),
    *(
        "site-packages",
        "sqlite3",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
        "unittest",
        "distutils",
    ),
}
"""Folders of the library that no program of an example needs."""

_IDLE_EXTENSIONS = re.compile(
    r"_test|_xx|xx|_tkinter|_curses|_sqlite3|readline|nis\.|_g?dbm|ossaudio"
)
"""Extension modules that would bring libraries of their own along, or exist for Python's own tests."""

_LINKED = re.compile(r"(?:(?P<name>\S+) => )?(?P<path>/\S+) \(0x")
_DATA = {"s3", "sts"}
"""The services that botocore's data is kept for, 1 MB of 25."""


_PACKAGES = {
    "awsiotsdk": ("awsiot", "awscrt", "_awscrt"),
    "boto3": ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3"),
    "stream-manager": ("stream_manager", "cbor2", "_cbor2"),
}
"""What `pip install` brings, by the names that are imported."""

_PIP = re.compile(r'pip install .*"(?P<package>[\w-]+)')


def build(dockerfile: Path, tag: str, *more: Layer) -> SavedImage:
    """The image of a Dockerfile: `FROM python`, `RUN pip install`, `COPY file /path` and `CMD`."""
    layers = [busybox_layer(), python_layer()]
    command: tuple[str, ...] = ()
    for line in dockerfile.read_text(encoding="utf-8").splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY":
            source, target = rest.split()
            layers.append(file_layer({target: (dockerfile.parent / source).read_bytes()}))
        elif word == "CMD":
            command = tuple(json.loads(rest))
        elif word == "RUN" and (found := _PIP.match(rest)):
            layers.append(packages_layer(*_PACKAGES[found["package"]]))
        elif not rest.startswith("python:"):
            raise SandboxError(f"{dockerfile}: only what the examples use is known here: {line}")
    return SavedImage((*layers, *more), (tag,), command)


@functools.lru_cache(maxsize=1)
def python_layer() -> Layer:
    """`/usr/local/bin/python3`, its library, and the shared libraries of both."""
    program = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    files = {
        f"{_LIBRARY}/{path.relative_to(library)}": path
        for path in library.rglob("*")
        if path.is_file() and not _is_idle(path.relative_to(library))
    }
    extensions = [path for path in files.values() if path.suffix == ".so"]
    return file_layer(
        {
            **_contents({f"{_PREFIX}/bin/python3": program, **files}),
            **_contents(_linked([program, *extensions])),
        }
    )


@functools.lru_cache
def packages_layer(*names: str) -> Layer:
    """The packages, or modules, that are imported by these names; without what they depend on."""
    files: dict[str, Path] = {}
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None and name.startswith("_"):
            continue  # an extension that not every build of its package has
        if found is None or found.origin is None:
            raise SandboxError(f"the environment has no package {name}: run `make setup`")
        origin = Path(found.origin)
        folder = origin.parent if origin.name == "__init__.py" else None
        for path in folder.rglob("*") if folder else [origin]:
            place = path.relative_to((folder or origin).parent)
            if path.is_file() and not _is_idle(place) and not _is_other_data(place):
                files[f"{_LIBRARY}/{place}"] = path
    extensions = [path for path in files.values() if path.suffix == ".so"]
    return file_layer({**_contents(files), **_contents(_linked(extensions))})


def trust_layer(authority: Path) -> Layer:
    """boto3 in the container trusts this authority, as it does the public ones elsewhere."""
    return file_layer({f"{_LIBRARY}/botocore/cacert.pem": authority.read_bytes()})


def _is_idle(path: Path) -> bool:
    if not _IDLE.isdisjoint(path.parts[:-1]) or path.parts[0].startswith("config-"):
        return True
    return bool(_IDLE_EXTENSIONS.match(path.name)) or path.suffix == ".a"


def _is_other_data(path: Path) -> bool:
    return (
        path.parts[:2] == ("botocore", "data")
        and len(path.parts) > 3
        and path.parts[2] not in _DATA
    )


def _contents(files: Mapping[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files.items()}


def _linked(programs: Iterable[Path]) -> dict[str, Path]:
    """The shared libraries, where the loader finds them without a cache: beside the C library."""
    found: dict[str, Path] = {}
    loaders: dict[str, Path] = {}
    for name, path in _ldd(list(programs)):
        if name:
            found[name] = path
        else:
            loaders[str(path).lstrip("/")] = path
    if "libc.so.6" not in found:
        return {}
    # Not linked, but loaded when a thread ends early.
    found["libgcc_s.so.1"] = found["libc.so.6"].with_name("libgcc_s.so.1")
    folder = str(found["libc.so.6"].parent).lstrip("/")
    return {**{f"{folder}/{name}": path for name, path in found.items()}, **loaders}


def _ldd(programs: list[Path]) -> Iterator[tuple[str, Path]]:
    if not programs:
        return
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    if "not found" in said:
        raise SandboxError(f"a shared library is missing on this machine:\n{said}")
    for line in said.splitlines():
        if match := _LINKED.search(line):
            yield match["name"] or "", Path(match["path"])
