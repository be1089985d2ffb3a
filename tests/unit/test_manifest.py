"""Manifests and lists as registries hand them out, damaged ones included."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.manifest import (
    MAX_BLOB_BYTES,
    Layer,
    ListEntry,
    Manifest,
    ManifestList,
    ManifestUnavailable,
    choose_entry,
    fetch_manifest,
    parse_diff_ids,
    parse_document,
    platforms_of,
)
from dockermgr.reference import parse_reference
from dockermgr.registry import classify

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_LIST = "application/vnd.oci.image.index.v1+json"
CONFIG, FIRST, SECOND = ("sha256:" + digit * 64 for digit in "012")


def image(media_type: str | None = DOCKER, **changes: Any) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            **({"mediaType": media_type} if media_type else {}),
            "config": {"size": 7, "digest": CONFIG},
            "layers": [{"size": 10, "digest": FIRST}, {"size": 0, "digest": SECOND}],
            **changes,
        }
    ).encode()


def listing(*platforms: Any, media_type: str = OCI_LIST) -> bytes:
    entries = [
        {"digest": FIRST, **({} if platform is None else {"platform": platform})}
        for platform in platforms
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()


@pytest.mark.parametrize(
    ("media_type", "content_type"),
    [(DOCKER, ""), (OCI, ""), (OCI, DOCKER_LIST), (None, OCI), (None, f"{OCI}; charset=utf-8")],
)
def test_an_image_is_its_layers(media_type: str | None, content_type: str) -> None:
    assert parse_document(image(media_type), content_type) == Manifest(
        None, Layer(CONFIG, 7), (Layer(FIRST, 10), Layer(SECOND, 0))
    )


@pytest.mark.parametrize("media_type", [DOCKER_LIST, OCI_LIST])
def test_a_list_is_its_platforms(media_type: str) -> None:
    document = parse_document(
        listing(
            {"os": "linux", "architecture": "amd64"},
            {"os": "linux", "architecture": "arm", "variant": "v7", "os.features": ["x"]},
            {"os": "unknown", "architecture": "unknown"},
            {"os": "linux", "architecture": "amd64", "variant": ""},
            None,
            media_type=media_type,
        )
    )

    assert isinstance(document, ManifestList)
    assert [entry.platform for entry in document.entries] == [
        *("linux/amd64", "linux/arm/v7", "unknown/unknown", "linux/amd64", None),
    ]
    assert platforms_of(document) == ("linux/amd64", "linux/arm/v7")


@pytest.mark.parametrize(
    "platform",
    [[], "linux/amd64", {}, {"os": "linux"}, {"architecture": "arm64", "variant": "v8"},
     {"os": "linux", "architecture": 64}, {"os": "a/b", "architecture": "amd64"},
     {"os": "linux", "architecture": "x" * 33}, {"os": "linux\n", "architecture": "amd64"}],
)  # fmt: skip
def test_a_platform_that_makes_no_sense_could_be_any(platform: Any) -> None:
    document = parse_document(listing(platform))

    assert document == ManifestList((ListEntry(FIRST, None),))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xff\xfe\xff", b"null", b"[]", b"{", b"[" * 100_000, b'{"a":' * 100_000,
        image(schemaVersion=1), image(schemaVersion="2"), image(mediaType=["x"]), image(mediaType=1),
        image("application/vnd.docker.distribution.manifest.v1+prettyjws"),
        image("application/vnd.oci.artifact.manifest.v1+json"), image(None),
        image(manifests=[]), image(config=None), image(config={}), image(layers=None),
        image(layers={}), image(layers=[1]), image(layers=[{"size": 1}]),
        image(layers=[{"digest": FIRST}]), listing(None).replace(FIRST.encode(), b"latest"),
        listing().replace(b"[]", b"{}"),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_none(body: bytes) -> None:
    with pytest.raises(ManifestUnavailable):
        parse_document(body, "application/json")


@pytest.mark.parametrize(
    "size",
    ["-1", "true", '"5"', "1.5", "1e300", "NaN", "null", str(MAX_BLOB_BYTES + 1), "9" * 10**6],
)
def test_an_impossible_size_is_refused(size: str) -> None:
    body = image().replace(b'"size": 10', f'"size": {size}'.encode())

    with pytest.raises(ManifestUnavailable):
        parse_document(body)


@pytest.mark.parametrize(
    "digest", ["", "latest", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "md5:" + "0" * 32,
               "sha256:../" + "0" * 61, FIRST + "\n", 5, None, [FIRST]]
)  # fmt: skip
def test_what_is_no_digest_is_refused(digest: Any) -> None:
    with pytest.raises(ManifestUnavailable):
        parse_document(image(layers=[{"size": 1, "digest": digest}]))


def test_the_entry_for_the_platform_is_chosen() -> None:
    entries = (
        ListEntry(CONFIG, "unknown/unknown"),
        ListEntry(FIRST, "linux/amd64"),
        ListEntry(SECOND, "linux/arm64"),
    )

    assert choose_entry(ManifestList(entries), "linux/arm64/v8", "app").digest == SECOND


def test_a_list_without_the_platform_says_what_it_has() -> None:
    entries = tuple(
        ListEntry(FIRST, name)
        for name in ("linux/amd64", "linux/386", "unknown/unknown", "linux/amd64")
    )

    with pytest.raises(DockermgrError) as caught:
        choose_entry(ManifestList(entries), "linux/arm64/v8", "app:1")

    assert caught.value.code is ErrorCode.IMAGE_PLATFORM_MISMATCH
    assert caught.value.retry is Retry.NEVER
    assert caught.value.message == (
        "app:1 is not published for linux/arm64/v8, only for linux/amd64, linux/386"
    )


def test_the_message_stays_short_for_a_long_list() -> None:
    entries = tuple(ListEntry(FIRST, f"os{number}/arch") for number in range(1000))

    with pytest.raises(DockermgrError, match=r"os11/arch and 988 more"):
        choose_entry(ManifestList(entries), "linux/amd64", "app:1")


def test_an_empty_list_is_a_mismatch() -> None:
    with pytest.raises(DockermgrError, match="only for no platform at all"):
        choose_entry(ManifestList(()), "linux/amd64", "app:1")


def test_diff_ids_are_read_from_the_configuration() -> None:
    body = json.dumps({"rootfs": {"type": "layers", "diff_ids": [FIRST, SECOND]}}).encode()

    assert parse_diff_ids(body, 2) == (FIRST, SECOND)
    with pytest.raises(ManifestUnavailable):
        parse_diff_ids(body, 3)


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"rootfs": 1}', b'{"rootfs": {"diff_ids": "ab"}}', b'{"rootfs": {"diff_ids": [1]}}'],
)
def test_a_damaged_configuration_is_no_answer(body: bytes) -> None:
    with pytest.raises(ManifestUnavailable):
        parse_diff_ids(body, 1)


@pytest.mark.parametrize("platform", ["", "linux", "linux/", "a/b/c/d"])
def test_an_unreadable_platform_asks_nobody(platform: str) -> None:
    reference = parse_reference("registry.example.com/app:1")

    with pytest.raises(ManifestUnavailable, match="is no platform"):
        fetch_manifest(reference, classify(reference.registry), None, platform)


# --- whatever it is, it is one of the answers -----------------------------------------------------

_WORDS = st.sampled_from([DOCKER, OCI, DOCKER_LIST, OCI_LIST, CONFIG, FIRST, "linux", "amd64", ""])
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _WORDS
_KEYS = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "platform", "size", "digest",
     "os", "architecture", "variant", "rootfs", "diff_ids"]
)  # fmt: skip
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6),
    max_leaves=25,
)
_BLOB = st.fixed_dictionaries({"size": _SCALARS, "digest": _WORDS}) | _JSON
_DOCUMENTS = _JSON | st.fixed_dictionaries(
    {"schemaVersion": st.just(2), "mediaType": _WORDS},
    optional={
        "config": _BLOB,
        "layers": st.lists(_BLOB, max_size=3) | _JSON,
        "manifests": st.lists(
            st.fixed_dictionaries({"digest": _WORDS, "platform": _JSON}) | _JSON, max_size=3
        ),
    },
)


@given(_DOCUMENTS.map(json.dumps).map(str.encode) | st.binary(max_size=50), _WORDS)
def test_any_document_is_read_or_refused(body: bytes, content_type: str) -> None:
    with contextlib.suppress(ManifestUnavailable, DockermgrError):
        document = parse_document(body, content_type)
        if isinstance(document, ManifestList):
            choose_entry(document, "linux/amd64", "app")
        else:
            assert all(0 <= layer.size_bytes <= MAX_BLOB_BYTES for layer in document.layers)


@given(_JSON.map(json.dumps).map(str.encode), st.integers(0, 3))
def test_any_configuration_is_read_or_refused(body: bytes, count: int) -> None:
    with contextlib.suppress(ManifestUnavailable):
        assert len(parse_diff_ids(body, count)) == count
