"""Whether an image fits on the engine's disk, before any of it is downloaded: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.manifest import Manifest

EXPANSION_FACTOR = 2.5
"""Bytes on disk for a compressed byte of a layer, once extracted.

A manifest tells compressed sizes only. Measured ones: 2.3 to 2.6 for five images of 3 to 14 GB
(ThePorgs/Exegol, pull request 189), 2.8 for a small static one (google/go-containerregistry, issue
1554). A typical figure and not the worst: an update that would have fitted must not be refused.
"""

KEPT_FACTOR = 1.0
"""The download lies beside what is extracted from it: with the classic store until the layer is
registered (moby, xfer/download.go closes the temporary file last), with containerd's for good."""

AMPLE_FREE_BYTES = 32 * 10**9
"""With so much to spare the manifest is not worth asking for: an image that does not fit has 9 GB of
layers. The question costs two to four round trips, and on Docker Hub each GET of a manifest counts
as a pull of the rate limit (docs.docker.com, "Docker Hub pull usage and limits")."""

_BYTES_PER_MB = 10**6


def is_ample(free_bytes: int, min_free_bytes: int = 0) -> bool:
    """Whether there is so much space that no ordinary image can be too large."""
    return free_bytes - min_free_bytes >= AMPLE_FREE_BYTES


def needed_bytes(manifest: Manifest, present_layers: Collection[str] = ()) -> int:
    """The most that a pull takes of the disk, about; `present_layers` by their digest in the manifest."""
    compressed = _missing_bytes(manifest, present_layers)
    return round(compressed * (EXPANSION_FACTOR + KEPT_FACTOR))


def present_layers(
    manifest: Manifest, diff_ids: Sequence[str], local_images: Iterable[Sequence[str]]
) -> frozenset[str]:
    """The manifest's layers that the engine has already, by their digest in the manifest.

    `diff_ids` are the image's own (`manifest.fetch_diff_ids`), `local_images` those of each image
    of the engine (`RootFS.Layers` of its inspection), both from the lowest layer up. The engine
    keeps a layer for what lies below it as well (image-spec, config.md, "ChainID"), so what counts is
    how far up an image here is the same.
    """
    shared = max((_common_length(diff_ids, local) for local in local_images), default=0)
    return frozenset(layer.digest for layer in manifest.layers[:shared])


def check_space(
    image: str,
    manifest: Manifest,
    *,
    free_bytes: int | None,
    min_free_bytes: int = 0,
    claimed_bytes: int = 0,
    present_layers: Collection[str] = (),
) -> None:
    """Raises DISK_SPACE_CRITICAL when `image` would leave less than `min_free_bytes`.

    `free_bytes` is None when nobody knows; then there is nothing to check. `claimed_bytes` is what
    pulls under way are still to take. Layers count as missing unless `present_layers` has them. An
    image with nothing to download passes however full the disk is.
    """
    compressed = _missing_bytes(manifest, present_layers)
    needed = needed_bytes(manifest, present_layers)
    if free_bytes is None or not compressed:
        return
    if needed <= free_bytes - claimed_bytes - min_free_bytes:
        return
    conditions = [f"{_mb(free_bytes)} are free on the engine's disk"]
    if claimed_bytes:
        conditions.append(f"other pulls take {_mb(claimed_bytes)} of that")
    if min_free_bytes:
        conditions.append(f"{_mb(min_free_bytes)} must stay free (minFreeBytes)")
    raise DockermgrError(
        ErrorCode.DISK_SPACE_CRITICAL,
        f"{image} needs about {_mb(needed)} (layers {_mb(compressed)} compressed), "
        + ", ".join(conditions),
        hint="free some space on the disk that holds the engine's data (docker system df)"
        + (", or lower minFreeBytes" if min_free_bytes else ""),
        retry=Retry.LIMITED,
    )


def _missing_bytes(manifest: Manifest, present: Collection[str]) -> int:
    return sum(layer.size_bytes for layer in manifest.layers if layer.digest not in present)


def _common_length(first: Sequence[str], second: Sequence[str]) -> int:
    length = 0
    for one, other in zip(first, second):  # noqa: B905  # the shorter one ends it
        if one != other:
            break
        length += 1
    return length


def _mb(size_bytes: int) -> str:
    megabytes = size_bytes / _BYTES_PER_MB
    return f"{megabytes:.1f} MB" if megabytes < 10 else f"{megabytes:.0f} MB"
