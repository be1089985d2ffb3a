"""`docker save` archives: what is in one, found out from its tar headers, without unpacking it: pure.

Docker up to 24 writes a folder for each layer, `<config digest>.json` and `manifest.json`; Docker from
25 on, containerd and buildx write an OCI layout (`blobs/sha256/…`, `index.json`) with a `manifest.json`
beside it. In both what says which images they are stands at the end.
"""

from __future__ import annotations

import json
import posixpath
import re
import tarfile
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.reference import parse_reference

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
"""What a tar archive ends with (POSIX, pax interchange format)."""
LARGEST_DOCUMENT_BYTES = 4 * 1024 * 1024
"""Of manifest.json, index.json and extended headers, which are kept in memory: real ones have some kB."""
MOST_MEMBERS = 100_000
"""Their names are kept, too. Docker's largest image has 127 layers, of four members each at the most."""

_EXTENDED = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
_REGULAR = {tarfile.REGTYPE, tarfile.AREGTYPE}
_LINKS = {tarfile.SYMTYPE, tarfile.LNKTYPE}
_MANIFEST, _INDEX, _LAYOUT = "manifest.json", "index.json", "oci-layout"
_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_NAME_ANNOTATION = "io.containerd.image.name"


@dataclass(frozen=True, slots=True)
class Archive:
    """The images of an archive."""

    count: int
    tags: tuple[str, ...]
    """Whole names: `docker.io/library/nginx:1`."""
    configs: tuple[str, ...]
    """Digests of their configurations: the ids that an engine with the classic store gives them."""
    manifests: tuple[str, ...]
    """Digests in index.json: the ids that an engine with containerd's store gives them."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the archive that are to be looked at; the next one begins behind them."""

    offset: int
    length: int


def read_archive(read_at: Callable[[int, int], bytes]) -> Archive:
    """Looks at an uncompressed archive that can be read anywhere: headers and documents only.

    Raises DOCKER_IMAGE_NOT_VALID.
    """
    walk = _walk()
    span = next(walk)
    while True:
        try:
            span = walk.send(read_at(span.offset, span.length))
        except StopIteration as end:
            return _archive(end.value)


class Sieve:
    """Lets an uncompressed archive through while looking at it, and keeps back its end.

    What has not been looked at does not pass, and the mark at the end never does: until the engine
    gets `END`, it has no archive.
    """

    def __init__(self) -> None:
        self._walk = _walk()
        self._span = next(self._walk)
        self._held = bytearray()
        self._passed = 0
        self.archive: Archive | None = None
        """Set when the end has been seen."""

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes; returns those that may go on. Raises DOCKER_IMAGE_NOT_VALID."""
        if self.archive is not None:
            return b""
        self._held += data
        while len(self._held) >= self._span.offset - self._passed + self._span.length:
            begin = self._span.offset - self._passed
            piece = bytes(self._held[begin : begin + self._span.length])
            try:
                self._span = self._walk.send(piece)
            except StopIteration as end:
                self.archive = _archive(end.value)
                break
        passes = bytes(self._held[: self._span.offset - self._passed])
        del self._held[: len(passes)]
        self._passed += len(passes)
        return passes

    def finish(self) -> Archive:
        """There are no more bytes. Raises DOCKER_IMAGE_NOT_VALID when there should be."""
        if self.archive is None:
            raise _truncated()
        return self.archive

    @property
    def spoiler(self) -> bytes:
        """After what has passed, bytes that make it an archive which no engine takes.

        Zeros would be an end, and so would nothing at all between two members. Hanging up would do,
        but containerd then keeps what it has got for a day.
        """
        missing = self._span.offset - self._passed
        return b"\xff" * (2 * BLOCK if missing == BLOCK else BLOCK)


@dataclass(frozen=True, slots=True)
class _Contents:
    names: frozenset[str]
    documents: dict[str, bytes]


def _walk() -> Generator[Span, bytes, _Contents]:
    """Goes from header to header; stops where the mark at the end begins."""
    names: set[str] = set()
    documents: dict[str, bytes] = {}
    extended: dict[str, str] = {}
    at = 0
    while True:
        header = yield Span(at, BLOCK)
        if len(header) < BLOCK:
            raise _truncated()
        if header == bytes(BLOCK):
            return _Contents(frozenset(names), documents)
        member = _parse(header)
        at += BLOCK
        if member.type in _EXTENDED:
            payload = yield from _document(at, member.size)
            at += _padded(member.size)
            if member.type != tarfile.XGLTYPE:
                extended.update(_extensions(member.type, payload))
            continue
        name = posixpath.normpath(extended.get("path", member.name))
        size = int(extended.get("size", member.size))
        _check(member.type, name, size, extended.get("linkpath", member.linkname))
        extended = {}
        if name in documents:
            raise _foreign(f"it holds {name} twice")
        if name in {_MANIFEST, _INDEX} and member.type in _REGULAR:
            documents[name] = yield from _document(at, size)
        names.add(name)
        if len(names) > MOST_MEMBERS:
            raise _foreign(f"it has more than {MOST_MEMBERS} members")
        at += _padded(size)


def _document(at: int, size: int) -> Generator[Span, bytes, bytes]:
    if size > LARGEST_DOCUMENT_BYTES:
        raise _foreign(f"a description in it has {size} bytes")
    payload = yield Span(at, size)
    if len(payload) < size:
        raise _truncated()
    return payload


def _parse(header: bytes) -> tarfile.TarInfo:
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _foreign("it is not a tar archive, or a damaged one") from error
    if member.size < 0:
        raise _foreign("it is a damaged tar archive")
    return member


def _extensions(kind: bytes, payload: bytes) -> dict[str, str]:
    """What a pax header (`length key=value`, POSIX) or a GNU long name says of the next member."""
    if kind in {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}:
        key = "path" if kind == tarfile.GNUTYPE_LONGNAME else "linkpath"
        return {key: payload.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
    found = {}
    while payload:
        length, _, _ = payload.partition(b" ")
        record = payload[: int(length)] if length.isdigit() else b""
        key_bytes, equals, value = record[len(length) + 1 :].partition(b"=")
        if not equals or not record.endswith(b"\n"):
            raise _foreign("it is a damaged tar archive")
        found[key_bytes.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
        payload = payload[len(record) :]
    if not found.get("size", "0").isdigit() or any(key.startswith("GNU.sparse") for key in found):
        raise _foreign("it is a tar archive of a kind that docker save does not write")
    return found


def _check(kind: bytes, name: str, size: int, target: str) -> None:
    """Nothing in an archive has a business outside of it; and parsers differ over odd members."""
    if kind not in _REGULAR | _LINKS | {tarfile.DIRTYPE} or (size and kind not in _REGULAR):
        raise _foreign(f"its member {name!r} is of a kind that docker save does not write")
    inside = [name]
    if kind in _LINKS:
        folder = posixpath.dirname(name) if kind == tarfile.SYMTYPE else ""
        inside.append(posixpath.normpath(posixpath.join(folder, target)))
    for path in inside:
        if path.startswith(("/", "../")) or path == "..":
            raise _foreign(f"its member {name!r} leads outside of the archive")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _archive(contents: _Contents) -> Archive:
    """What manifest.json and index.json say. Raises DOCKER_IMAGE_NOT_VALID."""
    names, documents = contents.names, contents.documents
    try:
        index = json.loads(documents[_INDEX])["manifests"] if _INDEX in documents else []
        manifests = tuple(dict.fromkeys(str(entry["digest"]) for entry in index))
        if _MANIFEST in documents:
            entries = json.loads(documents[_MANIFEST])
            called = [tag for entry in entries for tag in entry.get("RepoTags") or ()]
            configs = [str(entry["Config"]) for entry in entries]
            layers = [str(layer) for entry in entries for layer in entry["Layers"]]
            _check_present(names, [*configs, *layers])
        elif _INDEX in documents and _LAYOUT in names:
            noted = [entry.get("annotations") or {} for entry in index]
            called = [note[_NAME_ANNOTATION] for note in noted if _NAME_ANNOTATION in note]
            configs, entries = [], list(manifests)
        else:
            raise _foreign("it has neither manifest.json nor an OCI layout")
        tags = tuple(dict.fromkeys(str(parse_reference(str(name))) for name in called))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _foreign("its manifest.json or index.json is not as Docker writes it") from error
    if not entries:
        raise _foreign("there is no image in it")
    ids = [found[0] for config in configs if (found := _DIGEST.findall(config))]
    return Archive(
        count=len(entries),
        tags=tags,
        # One that does not say its id could be any image.
        configs=tuple(f"sha256:{one}" for one in ids) if len(ids) == len(configs) else (),
        manifests=manifests,
    )


def _check_present(names: frozenset[str], wanted: Iterable[str]) -> None:
    missing = sorted({posixpath.normpath(name) for name in wanted} - names)
    if missing:
        raise _foreign(f"{len(missing)} parts of an image are missing, {missing[0]} first")


def _foreign(what: str) -> DockermgrError:
    return DockermgrError(
        ErrorCode.DOCKER_IMAGE_NOT_VALID,
        f"this is no archive of docker save: {what}",
        hint="make it with: docker save -o FILE IMAGE; it may be compressed with gzip or zstd",
    )


def _truncated() -> DockermgrError:
    return DockermgrError(
        ErrorCode.DOCKER_IMAGE_NOT_VALID,
        "the archive is truncated: its end is missing",
        hint="copy or upload it again",
    )
