"""Where an archive is stored: what reading it needs, and files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from dockermgr.compression import CHUNK_BYTES
from dockermgr.errors import DockermgrError, ErrorCode


class Changed(Exception):  # noqa: N818  # not an error by itself: what was read so far is of no use
    """The archive is another one than it was when reading began."""


class Stored(Protocol):
    """An archive as it lies there, compressed or not."""

    @property
    def identity(self) -> str:
        """Another one for another content."""

    @property
    def size_bytes(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes: ...

    def chunks(self) -> Iterator[bytes]:
        """All of it. Raises `Changed`."""

    def close(self) -> None: ...


class StoredFile:
    """A file. Making one raises DOCKER_ARTIFACT_URI_NOT_VALID when there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _no_file(f"{path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(self._opened).st_mode):
            self.close()
            raise _no_file(f"{path} is not a file")
        self.identity = self._look()
        self.size_bytes = os.fstat(self._opened).st_size

    def close(self) -> None:
        """Closes it."""
        os.close(self._opened)

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes from anywhere; fewer than `length` only at the end."""
        try:
            return os.pread(self._opened, length, offset)
        except OSError as error:
            raise DockermgrError(
                ErrorCode.DOCKER_IMAGE_NOT_VALID,
                f"{self._path} cannot be read: {error.strerror}",
                hint="see the kernel's log (dmesg) for trouble with the disk",
            ) from error

    def chunks(self) -> Iterator[bytes]:
        """All of it. Raises `Changed` when somebody wrote to it meanwhile."""
        at = 0
        while chunk := self.read_at(at, CHUNK_BYTES):
            yield chunk
            at += len(chunk)
        if self._look() != self.identity:
            raise Changed(f"{self._path} was changed while it was being read")

    def _look(self) -> str:
        found = os.fstat(self._opened)
        return f"{self._path.resolve()} {found.st_ino} {found.st_size} {found.st_mtime_ns}"


def _no_file(message: str) -> DockermgrError:
    return DockermgrError(
        ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID, message, hint="give a file, or s3://bucket/key"
    )
