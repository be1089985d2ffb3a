"""What a registry says of an image before any of it is downloaded: its platforms, its layers, their sizes.

Formats: docs.docker.com "Image manifest version 2, schema 2", and the OCI image-spec (manifest.md,
image-index.md). All of it comes from outside: whatever it is, the answer is a `Manifest`,
`ManifestUnavailable` or IMAGE_PLATFORM_MISMATCH.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.platforms import choose, normalise_platform, parse_platform

if TYPE_CHECKING:
    from dockermgr.cancellation import Cancellation
    from dockermgr.credentials import Credential
    from dockermgr.reference import Reference
    from dockermgr.registry import Registry
    from dockermgr.registry_client import RegistryClient

TIMEOUT_SECONDS = 10.0
"""For all of it, name look-up aside. Who cannot wait so long for a manifest has no use for the check."""

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""The manifest limit of distribution (registry/handlers/manifests.go) and of distribution-spec."""

MAX_BLOB_BYTES = 2**40
"""No layer is larger: ECR's limit is 52 GB. What claims to be is damaged or a lie."""

_MANIFEST_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
    }
)
_LIST_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    }
)
_ACCEPT = ", ".join(sorted(_MANIFEST_TYPES | _LIST_TYPES))
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}")
_PLATFORM_PART = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_NOT_A_PLATFORM = "unknown/unknown"
"""What BuildKit gives the attestations that it puts into lists."""
_LONGEST_NUMBER = 18
_SHOWN_PLATFORMS = 12


class ManifestUnavailable(Exception):  # noqa: N818 - what it is says more than Error
    """What an image takes cannot be known. No reason not to pull it: the engine may fare better."""

    def __init__(
        self, reason: str, *, words: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.words = words
        """Those of a registry that refused, as engines write them."""
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob of an image, as it is downloaded: compressed."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a reference stands for on one platform."""

    digest: str | None
    """Of what the reference names: of the list, where there is one."""
    config: Layer
    layers: tuple[Layer, ...]
    """From the lowest up."""
    platforms: tuple[str, ...] = ()
    """Those of the list, `os/arch[/variant]` as it writes them; empty for an image without a list."""


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One image of a manifest list."""

    digest: str
    platform: str | None
    """`os/arch[/variant]` as the list writes it; None when it does not."""


@dataclass(frozen=True, slots=True)
class ManifestList:
    """An image for each of several platforms."""

    entries: tuple[ListEntry, ...]


def fetch_manifest(
    reference: Reference,
    registry: Registry,
    credential: Credential | None,
    platform: str,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    cancellation: Cancellation | None = None,
) -> Manifest:
    """Asks the registry for the manifest that an engine of `platform` would pull.

    One connection: a request for an image, two for one of a manifest list, more where a token
    server comes first. Raises `ManifestUnavailable` when it cannot be known, also when cancelled,
    and IMAGE_PLATFORM_MISMATCH when the list has nothing for `platform`.
    """
    from dockermgr.registry_client import RegistryClient

    wanted = _wanted(platform)
    with RegistryClient(reference, registry, credential, timeout_seconds, cancellation) as client:
        digest, document = _get(client, reference.pull_selector, reference.digest)
        if isinstance(document, Manifest):
            return Manifest(digest, document.config, document.layers)
        entry = choose_entry(document, wanted, str(reference))
        _, chosen = _get(client, entry.digest, entry.digest)
    if not isinstance(chosen, Manifest):
        raise ManifestUnavailable("the manifest list leads to another list")
    return Manifest(digest, chosen.config, chosen.layers, platforms_of(document))


def fetch_diff_ids(
    reference: Reference,
    registry: Registry,
    credential: Credential | None,
    manifest: Manifest,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    cancellation: Cancellation | None = None,
) -> tuple[str, ...]:
    """What the engine knows the image's layers by, from the lowest up (see `space.present_layers`).

    It is in the image's configuration, one more blob to download: some kilobytes. Raises
    `ManifestUnavailable`.
    """
    from dockermgr.registry_client import RegistryClient

    with RegistryClient(reference, registry, credential, timeout_seconds, cancellation) as client:
        answer = client.get(f"blobs/{manifest.config.digest}", "*/*", MAX_DOCUMENT_BYTES)
    _check_digest(answer.body, manifest.config.digest)
    return parse_diff_ids(answer.body, len(manifest.layers))


def choose_entry(document: ManifestList, platform: str, image: str) -> ListEntry:
    """The entry for `platform` (in normal form). Raises IMAGE_PLATFORM_MISMATCH when there is none."""
    entries = [entry for entry in document.entries if entry.platform != _NOT_A_PLATFORM]
    offered = [
        None if entry.platform is None else normalise_platform(*entry.platform.split("/"))
        for entry in entries
    ]
    index = choose(platform, offered)
    if index is not None:
        return entries[index]
    there = platforms_of(document)
    shown = ", ".join(there[:_SHOWN_PLATFORMS]) or "no platform at all"
    more = f" and {len(there) - _SHOWN_PLATFORMS} more" if len(there) > _SHOWN_PLATFORMS else ""
    raise DockermgrError(
        ErrorCode.IMAGE_PLATFORM_MISMATCH,
        f"{image} is not published for {platform}, only for {shown}{more}",
        hint="publish the image for this device's platform, or set `platform` on the image",
    )


def platforms_of(document: ManifestList) -> tuple[str, ...]:
    """The list's platforms, each once."""
    named = (entry.platform for entry in document.entries)
    return tuple(dict.fromkeys(name for name in named if name and name != _NOT_A_PLATFORM))


def parse_document(body: bytes, content_type: str = "") -> Manifest | ManifestList:
    """Reads a manifest or a manifest list. Raises `ManifestUnavailable` for everything else."""
    document = _json_object(body)
    # OCI manifests may leave it out (image-spec, manifest.md).
    media_type = str(document.get("mediaType") or content_type.partition(";")[0].strip().lower())
    if document.get("schemaVersion") != 2 or {"manifests", "layers"} <= document.keys():
        # Both at once is what the engine refuses, too (CVE-2021-41190).
        raise ManifestUnavailable("it is neither a schema 2 nor an OCI manifest")
    if media_type in _LIST_TYPES:
        return ManifestList(tuple(map(_entry, _objects(document, "manifests"))))
    if media_type in _MANIFEST_TYPES:
        config = document.get("config")
        if not isinstance(config, dict):
            raise ManifestUnavailable("its manifest has no config")
        return Manifest(None, _blob(config), tuple(map(_blob, _objects(document, "layers"))))
    raise ManifestUnavailable("its manifest is of a kind that is not known here")


def parse_diff_ids(body: bytes, count: int) -> tuple[str, ...]:
    """The `count` diff ids of an image configuration. Raises `ManifestUnavailable`."""
    rootfs = _json_object(body).get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != count:
        raise ManifestUnavailable("its configuration does not fit its manifest")
    return tuple(map(_digest, diff_ids))


def _wanted(platform: str) -> str:
    try:
        return parse_platform(platform)
    except ValueError as error:
        raise ManifestUnavailable(str(error)) from None


def _get(
    client: RegistryClient, selector: str, digest: str | None
) -> tuple[str, Manifest | ManifestList]:
    answer = client.get(f"manifests/{selector}", _ACCEPT, MAX_DOCUMENT_BYTES)
    if digest is not None:
        _check_digest(answer.body, digest)
    found = digest or f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    return found, parse_document(answer.body, answer.content_type)


def _check_digest(body: bytes, digest: str) -> None:
    algorithm, _, expected = digest.partition(":")
    if hashlib.new(algorithm, body).hexdigest() != expected:
        raise ManifestUnavailable("what arrived does not have the digest that was asked for")


def _json_object(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body, parse_int=_int)
    except (ValueError, RecursionError):
        raise ManifestUnavailable("what arrived is not JSON") from None
    if not isinstance(document, dict):
        raise ManifestUnavailable("what arrived is not a JSON object")
    return document


def _int(text: str) -> int:
    """Python before 3.11 would take minutes for a number of a million digits."""
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("too large")
    return int(text)


def _objects(document: Mapping[str, object], key: str) -> list[dict[str, object]]:
    found = document.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ManifestUnavailable(f"its manifest has no proper {key}")
    return found


def _entry(described: Mapping[str, object]) -> ListEntry:
    return ListEntry(_digest(described.get("digest")), _platform(described.get("platform")))


def _platform(described: object) -> str | None:
    """As the list writes it. None for what makes no sense: it could be for any platform."""
    if not isinstance(described, dict):
        return None
    parts = [described.get("os"), described.get("architecture")]
    if described.get("variant") not in (None, ""):
        parts.append(described["variant"])
    named = [part for part in parts if isinstance(part, str) and _PLATFORM_PART.fullmatch(part)]
    return "/".join(named) if len(named) == len(parts) else None


def _blob(described: Mapping[str, object]) -> Layer:
    size = described.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_BLOB_BYTES:
        raise ManifestUnavailable("its manifest has a layer of impossible size")
    return Layer(_digest(described.get("digest")), size)


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ManifestUnavailable("its manifest has something in the place of a digest")
    return value
