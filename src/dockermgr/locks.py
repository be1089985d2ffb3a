"""One pull of an image at a time, among all processes of the manager."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dockermgr.cancellation import Cancellation

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 0.2
"""flock cannot be waited for and cancelled at once."""


class ImageLocks:
    """Locks in a folder that the manager's processes share; the kernel frees those of a killed one.

    Where the folder cannot be written, there are no locks: two pulls of one image are only a waste.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, name: str, cancellation: Cancellation) -> Iterator[bool]:
        """Holds the lock of `name` within; yields whether it had to wait for somebody else's work.

        Raises `Stopped`.
        """
        opened = self.open(name)
        if opened is None:
            yield False
            return
        try:
            yield self._acquire(opened, cancellation)
        finally:
            os.close(opened)

    def open(self, name: str) -> int | None:
        """The file of the lock of `name`, to be closed by the caller; None where there is none."""
        path = self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if os.geteuid() == 0:
                # A privileged component came first: the others use the same folder as another user.
                owner = self._folder.parent.stat()
                os.chown(self._folder, owner.st_uid, owner.st_gid)
                os.fchown(opened, owner.st_uid, owner.st_gid)
        except OSError as error:
            log.debug("no lock path=%s error=%s", path, error)
            return None
        return opened

    @staticmethod
    def _acquire(opened: int, cancellation: Cancellation) -> bool:
        waited = False
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                cancellation.wait(LOOK_AGAIN_SECONDS)
            except OSError as error:  # a file system without locks
                log.debug("no lock error=%s", error)
                return False
            else:
                return waited
