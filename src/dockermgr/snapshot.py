"""The service's last word on everything, left in its work folder for `dockermgr status`."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dockermgr.files import read_text, replace_text
from dockermgr.status import Message

log = logging.getLogger(__name__)

FILE_NAME = "status.json"
LOCK_NAME = "serving.lock"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Status messages, as they go over IPC: of the manager, and of each image that it follows."""

    summary: Message
    images: tuple[Message, ...]
    serving: bool
    """Whether the service that said this is still running."""


class SnapshotWriter:
    """For the service; its life is what `Snapshot.serving` speaks of. Never raises."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._works = True
        try:
            # Kept open: the kernel lets go of the lock when this process ends, however it does.
            lock = os.open(home / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            log.debug("no lock error=%s", error)

    def write(self, summary: Message, images: Iterable[Message]) -> None:
        """Replaces what was said before."""
        try:
            text = json.dumps({"summary": summary, "images": list(images)})
            replace_text(self._home / FILE_NAME, text)
            self._works = True
        except OSError as error:
            if self._works:
                log.warning("`dockermgr status` will not see this error=%s", error)
            self._works = False


def read_snapshot(home: Path) -> Snapshot | None:
    """The last word; None when there is none, or none that can be read."""
    try:
        said = json.loads(read_text(home / FILE_NAME) or "null")
        return Snapshot(dict(said["summary"]), tuple(map(dict, said["images"])), _is_held(home))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_held(home: Path) -> bool:
    try:
        lock = os.open(home / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks: nobody can tell
        return False
    finally:
        os.close(lock)
    return False
