"""Runs dockermgr out of an unpacked runtime, in which this file lies at the top.

Imported by the archive's launcher, or run as a script by `<home>/bin/dockermgr`, which is quicker
by the reading of the archive. Imports next to nothing: each millisecond is part of every command.
"""

import fcntl
import os
import sys
import warnings

TYPE_CHECKING = False  # importing typing takes longer than all of this
if TYPE_CHECKING:
    from typing import NoReturn

MARKER = ".complete"
WRONG_ENVIRONMENT = 2  # both as in the archive's other modules

_held: list[int] = []


def hold(runtime: str) -> bool:
    """Marks the runtime as in use for the life of this process; False if it is not whole.

    The marker is written last, so it stands for all the files; it bears its folder's name, so an
    empty one (power lost before it reached the disk) does not count. The shared lock on it keeps a
    newer service from removing this runtime under a `dockermgr run` that lives for weeks.
    """
    try:
        marker = os.open(os.path.join(runtime, MARKER), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    _held.append(marker)
    try:
        fcntl.flock(marker, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:  # it is being removed
        return False
    except OSError:  # a file system without locks: there nothing is removed
        pass
    content = os.read(marker, 4096).decode("utf-8", "replace")
    return content == os.path.basename(runtime) and os.fstat(marker).st_nlink > 0


def repair(archive: str, why: str) -> "NoReturn":
    """Starts over from the archive, which unpacks anew; raises if that has been tried."""
    if "DOCKERMGR_REPAIR" in os.environ or not archive:
        raise RuntimeError(f"the unpacked runtime cannot be used: {why}")
    os.environ["DOCKERMGR_REPAIR"] = why
    run(archive)


def run(archive: str) -> "NoReturn":
    """Runs the archive in place of this process, with the same arguments."""
    flags = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    command = [sys.executable or "python3", *flags, archive, *sys.argv[1:]]
    os.execvp(command[0], command)


def start(runtime: str, archive: str) -> int:
    """Runs the command of `sys.argv` and returns its exit code.

    The environment then names the runtime, which children take as PYTHONPATH, and the archive.
    """
    if not hold(runtime):
        repair(archive, "it is not complete")
    os.environ["DOCKERMGR_RUNTIME"] = runtime
    os.environ["DOCKERMGR_ARTIFACT"] = archive
    # The runtime brings all that is wanted: a `requests` of another version, from PYTHONPATH or
    # from the system's packages, must not be mixed in.
    foreign = {runtime, archive, *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    kept = [p for p in sys.path if p not in foreign and not p.endswith("-packages")]
    sys.path[:] = [runtime, *kept]
    # tools/bundle.py leaves out what guesses encodings, and requests remarks on it.
    warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")
    try:
        from dockermgr.cli import main
    except Exception as error:
        if isinstance(error, ImportError) and error.name in sys.stdlib_module_names:
            sys.stderr.write(f"dockermgr: {sys.executable} lacks a part of Python: {error}\n")
            return WRONG_ENVIRONMENT
        repair(archive, f"{type(error).__name__}: {error}")
    os.environ.pop("DOCKERMGR_REPAIR", None)
    return main()


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    artifact = os.environ.get("DOCKERMGR_ARTIFACT", "")
    if not here.endswith(f"-{sys.implementation.cache_tag}"):
        run(artifact)  # this Python has taken the place of another version
    sys.exit(start(here, artifact))
