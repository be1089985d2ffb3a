"""Archives as they lie there: compressed, in files, and at addresses in S3."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.compression import Tap, is_compressed, unpacked
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.s3 import S3Address, parse_s3
from dockermgr.stored import Changed, StoredFile

PACK: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    # pigz and others write several parts one after another.
    "gzip in parts": lambda content: gzip.compress(content[:9]) + gzip.compress(content[9:]),
    "zstd in parts": lambda content: zstd.compress(content[:9]) + zstd.compress(content[9:]),
}


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@pytest.mark.parametrize("kind", PACK)
@given(content=st.binary(max_size=3000), size=st.integers(1, 500))
def test_every_kind_is_unpacked_counted_and_summed(kind: str, content: bytes, size: int) -> None:
    content = b"tar" + content
    packed = PACK[kind](content)
    tap = Tap(cut(packed, size), summed=True)

    assert b"".join(unpacked(tap, packed[:4])) == content
    assert tap.count == len(packed)
    assert tap.sha256 == hashlib.sha256(packed).hexdigest()
    if kind != "plain":
        assert is_compressed(packed[:512])


def test_a_sum_that_nobody_asked_for_is_not_made() -> None:
    tap = Tap(iter([b"abc"]), summed=False)
    assert tap.read() == b"abc"
    assert tap.sha256 == ""


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@given(data=st.data())
def test_what_is_truncated_is_told_wherever_it_ends(kind: str, data: st.DataObject) -> None:
    packed = PACK[kind](os.urandom(1000))
    short = packed[: data.draw(st.integers(4, len(packed) - 1))]
    with pytest.raises(DockermgrError, match="truncated") as found:
        list(unpacked(Tap(cut(short, 100), summed=False), packed[:4]))
    assert found.value.code is ErrorCode.DOCKER_IMAGE_NOT_VALID


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_what_is_damaged_is_told(kind: str) -> None:
    packed = bytearray(PACK[kind](b"hello" * 1000))
    packed[-6] ^= 0xFF
    packed[8:20] = bytes(12)
    with pytest.raises(DockermgrError, match=r"damaged|truncated"):
        list(unpacked(Tap(cut(bytes(packed), 100), summed=False), bytes(packed[:4])))


@pytest.mark.parametrize(
    ("head", "name"), [(b"\xfd7zXZ\0", "xz"), (b"BZh9", "bzip2"), (b"PK\x03\x04", "zip")]
)
def test_other_compressions_are_named(head: bytes, name: str) -> None:
    with pytest.raises(DockermgrError, match=f"compressed with {name}"):
        is_compressed(head)


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    path.write_bytes(b"a" * 600_000)
    stored = StoredFile(path)
    chunks = stored.chunks()
    assert next(chunks)
    with path.open("ab") as opened:
        opened.write(b"more")
    with pytest.raises(Changed, match=r"archive\.tar was changed"):
        list(chunks)
    stored.close()


def test_another_content_is_another_identity(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    seen = set()
    for content in (b"a", b"bb"):
        path.write_bytes(content)
        stored = StoredFile(path)
        seen.add(stored.identity)
        stored.close()
    assert len(seen) == 2


@pytest.mark.parametrize("name", ["missing.tar", "."])
def test_what_is_no_file_is_a_wrong_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(DockermgrError) as found:
        StoredFile(tmp_path / name)
    assert found.value.code is ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://images/app.tar", "images", "app.tar"),
        ("s3://my.images-1/a b/ü//app.tar.gz", "my.images-1", "a b/ü//app.tar.gz"),
    ],
)
def test_addresses(uri: str, bucket: str, key: str) -> None:
    assert parse_s3(uri) == S3Address(bucket, key)
    assert str(parse_s3(uri)) == uri


@pytest.mark.parametrize(
    "uri", ["s3://", "s3://images", "s3://images/", "s3://images/a/", "s3:///key", "s3://a b/key",
            "s3://images/" + "k" * 1025],
)  # fmt: skip
def test_addresses_that_name_nothing(uri: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket/key"):
        parse_s3(uri)
