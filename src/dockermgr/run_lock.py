"""One `dockermgr run` of a container at a time: the newest ends the one before it.

A nucleus that crashed leaves its components' processes behind and starts them again; the earlier
one must go, also while it still waits for an image.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable

from dockermgr.containers import GRACE_SECONDS, ContainerError, Supervisor
from dockermgr.locks import ImageLocks

PATIENCE_SECONDS = GRACE_SECONDS + 5.0
"""The earlier one stops its container first."""
_LOOK_AGAIN_SECONDS = 0.1


def take_over(
    locks: ImageLocks,
    name: str,
    me: Supervisor,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> int | None:
    """Holds the lock of `name` for the life of this process; returns its file.

    None where there are no locks (see `ImageLocks`), or when `stopped`. Raises ContainerError.
    """
    opened = locks.open(f"run {name}")
    if opened is None:
        return None
    ends_at = time.monotonic() + PATIENCE_SECONDS
    told: set[tuple[Supervisor, int]] = set()
    while not _try(opened):
        if stopped():
            os.close(opened)
            return None
        holder = Supervisor.read(os.pread(opened, 1000, 0).decode("ascii", "replace"))
        late = time.monotonic() > ends_at
        number = signal.SIGKILL if late else signal.SIGTERM
        if holder is not None and holder.is_near and (holder, number) not in told:
            told.add((holder, number))
            say(f"ending an earlier run of {name} (process {holder.pid})")
            _send(holder, number, name)
        if time.monotonic() > ends_at + PATIENCE_SECONDS:
            raise ContainerError(f"an earlier run of {name} does not end: {holder}")
        time.sleep(_LOOK_AGAIN_SECONDS)
    os.ftruncate(opened, 0)
    os.pwrite(opened, str(me).encode("ascii"), 0)
    return opened


def _try(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _send(holder: Supervisor, number: signal.Signals, name: str) -> None:
    if not holder.is_alive():
        return
    try:
        os.kill(holder.pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise ContainerError(
            f"{name} is run by process {holder.pid} of another user; stop that, or choose another --name"
        ) from error
