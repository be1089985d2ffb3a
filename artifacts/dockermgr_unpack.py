"""Unpacks the archive it lies in into a runtime folder.

It runs at the first start of a version, when the service starts, and when a start finds its runtime
damaged; a plain command never loads it.

A runtime is made beside its place, checked against the digests that the build recorded, brought
to the disk, marked as complete, and only then renamed into its place: a process killed or a plug
pulled at any instant leaves a folder that the next one throws away. One process does it, the
others wait.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import py_compile
import shutil
import sys
import tarfile
import tempfile
import time
import zipimport
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

OPTIMIZATION_LEVELS = (0, 2)
"""As the archive is run by hand, and with -OO as the service and `bin/dockermgr` run: without
docstrings the service's memory is 2 MB smaller."""
MARKER = ".complete"
# Unpacking takes seconds, on the slowest device perhaps thirty. Past this the holder hangs in a
# system call; to go on beside it is safe, as each works in a folder of its own.
LOCK_WAIT_SECONDS = 120.0
LOCK_POLL_SECONDS = 0.05


class UnusableError(Exception):
    """This machine or this Python cannot run the archive, or there is nowhere to unpack it."""


def prepare(archive: str, homes: list[str], name: str, machine: str) -> tuple[str, str]:
    """Sees to it that a whole runtime is there, in the first home that can be written.

    Returns the home and the runtime. Raises UnusableError.
    """
    check_machine(machine)
    contents = Archive(archive)
    broken = os.environ.get("DOCKERMGR_REPAIR", "")
    problems = []
    for home in homes:
        runtime = Path(home, "runtime", name)
        try:
            install(contents, runtime, broken)
        except OSError as error:
            problems.append(f"{home}: {error.strerror or error}")
        except (ValueError, zlib.error, tarfile.TarError) as error:
            raise UnusableError(f"{archive} is damaged, download it again: {error}") from error
        else:
            return home, str(runtime)
    raise UnusableError(
        f"nowhere to unpack to ({'; '.join(problems) or 'no home folder'}); "
        "set DOCKERMGR_HOME to a folder that this user may write to"
    )


def check_machine(machine: str) -> None:
    """Raises UnusableError where the libraries in the archive could not be loaded."""
    here = os.uname().machine + ("" if sys.maxsize > 2**32 else " with a 32-bit Python")
    if here != machine:
        raise UnusableError(f"this file is for {machine}, this machine is {here}")
    python = f"{sys.executable}, {sys.implementation.name} {sys.version.split()[0]}"
    if sys.implementation.name != "cpython" or "t" in sys.abiflags:
        raise UnusableError(f"needs CPython, and not a free-threaded one; this is {python}")
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        libc = ""
    if not libc.startswith("glibc"):
        raise UnusableError(
            f"needs a Linux with glibc; this one (musl, as in Alpine?) runs {python}"
        )


def native_abi() -> str:
    """The build of the native library for this Python.

    From 3.11 on they are of the stable ABI, so that one serves several versions; upstream makes one
    more for 3.13, which lacks functions that the older one calls.
    """
    if sys.version_info < (3, 11):
        return "cp310"
    return "cp311" if sys.version_info < (3, 13) else "cp313"


class Archive:
    """The archive's contents, read with Python's own importer."""

    def __init__(self, path: str) -> None:
        self._importer = zipimport.zipimporter(path)
        manifest: dict[str, Any] = json.loads(self._importer.get_data("manifest.json"))
        self._native: dict[str, tuple[int, str]] = manifest["native"][native_abi()]
        self.files: dict[str, tuple[int, str]] = {**manifest["files"], **self._native}

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Path and content of each file, checked. Raises ValueError and others if damaged."""
        for name in self._native:
            yield (
                name,
                self._checked(name, self._importer.get_data(f"native/{native_abi()}/{name}")),
            )
        library = io.BytesIO(self._importer.get_data("lib.tar"))
        with tarfile.open(fileobj=library) as tar:
            for member in tar:
                source = tar.extractfile(member)
                yield member.name, self._checked(member.name, source.read() if source else b"")

    def _checked(self, name: str, content: bytes) -> bytes:
        if hashlib.sha256(content).hexdigest() != self.files[name][1]:
            raise ValueError(f"{name} is not what was built")
        return content


def is_whole(runtime: Path, files: dict[str, tuple[int, str]]) -> bool:
    """Whether the runtime is complete and each of its files has its size."""
    try:
        if (runtime / MARKER).read_bytes() != os.fsencode(runtime.name):
            return False
        return all((runtime / name).stat().st_size == size for name, (size, _) in files.items())
    except OSError:
        return False


def install(contents: Archive, runtime: Path, broken: str) -> None:
    """Unpacks if the runtime is not whole. `broken` says why it cannot be though it looks so."""
    if not broken and is_whole(runtime, contents.files):
        return
    folder = runtime.parent
    before = _identity(runtime)
    umask = os.umask(0o022)  # other users run `bin/dockermgr`; none but this one may write
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock") as alone:
            if (not broken or _identity(runtime) != before) and is_whole(runtime, contents.files):
                return  # made by another process while this one waited
            if alone:
                remove_abandoned(folder)
            if before:
                reason = broken or "files are missing or cut short"
                sys.stderr.write(f"dockermgr: unpacking {runtime} again: {reason}\n")
            _replace(contents, runtime)
    finally:
        os.umask(umask)


def _identity(runtime: Path) -> tuple[int, int] | None:
    try:
        found = runtime.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _replace(contents: Archive, runtime: Path) -> None:
    folder = runtime.parent
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    old = folder / f".old-{fresh.name}"
    try:
        fresh.chmod(0o755)
        write(contents, fresh, runtime)
        with contextlib.suppress(FileNotFoundError):
            runtime.rename(old)
        try:
            fresh.rename(runtime)
        except OSError:  # on a file system without locks another process may have been first
            if not is_whole(runtime, contents.files):
                raise
        sync(folder)
    finally:
        remove([fresh, old])


def write(contents: Archive, folder: Path, runtime: Path) -> None:
    """Writes what is to be `runtime` into `folder`, and last the marker, which bears its name."""
    made = {folder}
    sources = []
    for name, content in contents.contents():
        path = folder / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_bytes(content)
        if path.suffix == ".py":
            sources.append((str(path), str(runtime / name)))
    compile_all(sources)
    sync(folder)
    (folder / MARKER).write_bytes(os.fsencode(runtime.name))
    sync(folder)


def compile_all(sources: list[tuple[str, str]]) -> None:
    """Writes the bytecode of files, each with the name that it is to have.

    Else whoever imports them first, perhaps as root, leaves a cache there. It is most of a first
    start, so a child does half of it.
    """
    parent = os.getpid()
    by_child, own = OPTIMIZATION_LEVELS
    try:
        child = os.fork()
    except OSError:  # no memory for one, or no right
        child = -1
    if child == 0:
        try:
            # Of a killed parent it is the last to hold the lock: nobody tidies up before it ends.
            done = compile_level(sources, by_child, lambda: os.getppid() == parent)
            os._exit(0 if done else 1)
        finally:
            os._exit(1)
    try:
        compile_level(sources, own, lambda: True)
    finally:  # on a full disk, too: what it writes is removed next
        failed = child < 0 or os.waitpid(child, 0)[1] != 0
    if failed:
        compile_level(sources, by_child, lambda: True)


def compile_level(
    sources: list[tuple[str, str]], level: int, is_wanted: Callable[[], bool]
) -> bool:
    """Compiles while that is wanted; returns whether it was to the end."""
    for path, name in sources:
        if not is_wanted():
            return False
        py_compile.compile(path, dfile=name, quiet=2, optimize=level)
    return True


def sync(folder: Path) -> None:
    """Brings the folder's file system to the disk, at once: 700 calls of fsync take long on eMMC.

    Not with os.sync() if it can be helped: that waits for all the others too, and a dead network
    share never answers.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            import ctypes

            ctypes.CDLL(None).syncfs(opened)
        except (ImportError, OSError, AttributeError):  # a Python without ctypes
            os.sync()
    finally:
        os.close(opened)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Waits for its turn; yields whether this process is alone in it."""
    lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _lock(lock, time.monotonic() + LOCK_WAIT_SECONDS)
    finally:
        os.close(lock)


def _lock(lock: int, deadline: float) -> bool:
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_POLL_SECONDS)
        except OSError:  # a file system without locks
            break
        else:
            return True
    return False


def remove_abandoned(folder: Path) -> None:
    """Removes what killed processes left. For the holder of the lock only."""
    remove([path for path in folder.iterdir() if path.name.startswith((".new-", ".old-"))])


def remove(paths: list[Path]) -> None:
    """Removes folders; what cannot be removed stays."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
