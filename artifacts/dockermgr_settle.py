"""What the service does to its home before it serves: commands for others, old runtimes removed."""

import contextlib
import fcntl
import os
import shlex
import sys
from pathlib import Path

from dockermgr_unpack import MARKER, locked, remove, remove_abandoned

# Other components call it by a path that both nuclei can name. It keeps clear of their environment,
# and goes straight to the unpacked runtime, which is quicker than through the archive.
COMMAND = """\
#!/bin/sh
# Written by `dockermgr serve` each time it starts.
DOCKERMGR_HOME={home}
DOCKERMGR_ARTIFACT={archive}
export DOCKERMGR_HOME DOCKERMGR_ARTIFACT
python={python}
[ -x "$python" ] || python=python3
start={start}
[ -r "$start" ] || start=$DOCKERMGR_ARTIFACT
exec "$python" -I -S -OO "$start" "$@"
"""

# What docker calls, by a name that it looks for in PATH.
CREDENTIAL_HELPER = """\
#!/bin/sh
# Written by `dockermgr serve` each time it starts.
exec {command} credentials "$@"
"""


def settle(home: str, runtime: str, archive: str) -> None:
    """Does both; what fails is said and does not keep the service from its work."""
    umask = os.umask(0o022)
    try:
        write_commands(Path(home), Path(runtime), archive)
        with locked(Path(runtime).parent / ".lock") as alone:
            if alone:
                remove_abandoned(Path(runtime).parent)
                remove_old(Path(runtime))
    except OSError as error:
        sys.stderr.write(f"dockermgr: {home}: {error}\n")
    finally:
        os.umask(umask)


def write_commands(home: Path, runtime: Path, archive: str) -> None:
    """Writes `<home>/bin/dockermgr` and its like, replacing each earlier one in one step."""
    folder = home / "bin"
    folder.mkdir(exist_ok=True)
    command = COMMAND.format(
        home=shlex.quote(str(home)),
        archive=shlex.quote(archive),
        python=shlex.quote(sys.executable or "python3"),
        start=shlex.quote(str(runtime / "dockermgr_start.py")),
    )
    _write(folder / "dockermgr", command)
    helper = CREDENTIAL_HELPER.format(command=shlex.quote(str(folder / "dockermgr")))
    _write(folder / "docker-credential-dockermgr", helper)


def _write(path: Path, script: str) -> None:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(os.fsencode(script))
            os.fchmod(file.fileno(), 0o755)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_old(runtime: Path) -> None:
    """Removes the runtimes of older versions but the last one, which may be rolled back to.

    One that a process runs from is kept as well: it imports more of it when it needs to.
    """
    os.utime(runtime / MARKER)  # the order is that of last use by a service
    served: list[tuple[float, Path]] = []
    for other in runtime.parent.iterdir():
        if not other.name.startswith(".") and _release(other) != _release(runtime):
            with contextlib.suppress(OSError):
                served.append(((other / MARKER).stat().st_mtime, other))
    last = _release(max(served)[1]) if served else ""
    for _, other in served:
        if _release(other) != last:
            _remove_unused(other)


def _release(runtime: Path) -> str:
    """Version and content, without the Python."""
    return runtime.name.rpartition("-cpython-")[0]


def _remove_unused(runtime: Path) -> None:
    with contextlib.suppress(OSError), (runtime / MARKER).open("rb") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held shared by whatever runs from it
        trash = runtime.parent / f".old-{runtime.name}"
        runtime.rename(trash)
        remove([trash])
