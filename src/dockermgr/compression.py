"""Archives as they are stored: plain, gzip or zstd; counted, and summed, while they are unpacked."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

from dockermgr.errors import DockermgrError, ErrorCode

CHUNK_BYTES = 256 * 1024

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_OTHERS = {b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"PK\x03\x04": "zip"}


class Readable(Protocol):
    """A file to read from."""

    def read(self, size: int, /) -> bytes: ...


class Tap:
    """The stored bytes, as a file to read from; `count` and, if asked for, `sha256` of what was taken."""

    def __init__(self, chunks: Iterator[bytes], *, summed: bool) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self._sum = hashlib.sha256() if summed else None
        self.count = 0

    @property
    def sha256(self) -> str:
        """In hexadecimal; empty when it was not asked for."""
        return self._sum.hexdigest() if self._sum else ""

    def read(self, size: int = CHUNK_BYTES, /) -> bytes:
        """Fewer bytes than `size` only at the end."""
        parts = []
        while size > 0:
            if not self._rest:
                chunk = next(self._chunks, b"")
                if not chunk:
                    break
                self.count += len(chunk)
                if self._sum:
                    self._sum.update(chunk)
                self._rest = memoryview(chunk)
            parts.append(self._rest[:size])
            self._rest = self._rest[size:]
            size -= len(parts[-1])
        return b"".join(parts)


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins so has to be unpacked.

    Raises DOCKER_IMAGE_NOT_VALID when that cannot be done here.
    """
    for begin, name in _OTHERS.items():
        if head.startswith(begin):
            raise _unreadable(f"the archive is compressed with {name}")
    return head.startswith((_GZIP, _ZSTD))


def unpacked(tap: Tap, head: bytes) -> Iterator[bytes]:
    """The archive, uncompressed, to the very end of what `tap` gives; `head` is what that begins with.

    Raises DOCKER_IMAGE_NOT_VALID when it is truncated or damaged.
    """
    opened: Readable = tap
    damage: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    if head.startswith(_GZIP):
        opened = gzip.GzipFile(fileobj=tap)  # type: ignore[call-overload]  # it only reads
    elif head.startswith(_ZSTD):
        zstd = _zstd()
        opened = zstd.ZstdFile(tap)
        damage = (EOFError, zstd.ZstdError)
    try:
        while data := opened.read(CHUNK_BYTES):
            yield data
    except damage as error:
        what = "truncated" if isinstance(error, EOFError) else "damaged"
        raise _unreadable(f"the archive is {what} ({error})") from error


def _zstd() -> Any:
    """A part of Python from 3.14 on, before that a package with the same interface."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return importlib.import_module("backports.zstd")


def _unreadable(what: str) -> DockermgrError:
    return DockermgrError(
        ErrorCode.DOCKER_IMAGE_NOT_VALID,
        what,
        hint="copy or upload it again: as docker save wrote it, or compressed with gzip or zstd",
    )
