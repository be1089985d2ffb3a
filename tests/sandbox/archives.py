"""Archives as `docker save` writes them, made without an engine, in the forms of old and new engines."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tests.sandbox.images import PATH, Layer, Platform, random_layer

_CREATED = "2026-01-01T00:00:00Z"


class Form(str, Enum):
    """Who writes archives like that."""

    CLASSIC = "classic"
    """Docker up to 24."""
    OCI = "oci"
    """Docker from 25 on, with either image store."""


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An image to save."""

    layers: tuple[Layer, ...]
    tags: tuple[str, ...] = ()
    command: tuple[str, ...] = ("sh",)

    @property
    def config(self) -> bytes:
        """Its configuration: what the id of an image is the digest of."""
        return json.dumps(
            {
                **Platform().as_json(),
                "created": _CREATED,
                "config": {"Cmd": list(self.command), "Env": [PATH]},
                "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in self.layers]},
                "history": [{"created": _CREATED} for _ in self.layers],
            }
        ).encode()

    @property
    def manifest(self) -> bytes:
        """Its manifest: what the id is the digest of in containerd's store."""
        layers = [gzip.decompress(layer.blob) for layer in self.layers]
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": _described(self.config, "application/vnd.oci.image.config.v1+json"),
                "layers": [
                    _described(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers
                ],
            }
        ).encode()

    @property
    def ids(self) -> set[str]:
        """One of them is its id, whatever the engine."""
        return {f"sha256:{_hex(self.config)}", f"sha256:{_hex(self.manifest)}"}


def saved_image(*tags: str, seed: int | str = 0, size_bytes: int = 400_000) -> SavedImage:
    """An image of two layers with random bytes."""
    parts = (random_layer(f"{seed}-small", 10_000), random_layer(f"{seed}-large", size_bytes))
    return SavedImage(parts, tags)


def members(images: Sequence[SavedImage], form: Form = Form.CLASSIC) -> dict[str, bytes]:
    """Name and content of the files in an archive, in the order in which engines write them."""
    entries, index = [], []
    files: dict[str, bytes] = {}
    for image in images:
        names = []
        for layer in image.layers:
            content = gzip.decompress(layer.blob)
            folder = _hex(content)
            name = f"{folder}/layer.tar" if form is Form.CLASSIC else f"blobs/sha256/{folder}"
            files[name] = content
            names.append(name)
        digest = _hex(image.config)
        config = f"{digest}.json" if form is Form.CLASSIC else f"blobs/sha256/{digest}"
        files[config] = image.config
        files[f"blobs/sha256/{_hex(image.manifest)}"] = image.manifest
        entries.append({"Config": config, "RepoTags": list(image.tags) or None, "Layers": names})
        described = _described(image.manifest, "application/vnd.oci.image.manifest.v1+json")
        index += [{**described, "annotations": _annotations(tag)} for tag in image.tags or (None,)]
    if form is Form.CLASSIC:
        files = {name: content for name, content in files.items() if "blobs/" not in name}
    else:
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": index}).encode()
        files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    files["manifest.json"] = json.dumps(entries).encode()
    late = ("index.json", "manifest.json", "oci-layout")
    return {name: files[name] for name in sorted(files, key=lambda name: (name in late, name))}


def archive(*images: SavedImage, form: Form = Form.CLASSIC) -> bytes:
    """All of it."""
    return tar(members(images, form))


def tar(files: Mapping[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    """An archive of these files, whatever they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as opened:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _annotations(tag: str | None) -> dict[str, str]:
    if not tag:
        return {}
    return {"io.containerd.image.name": tag if "/" in tag else f"docker.io/library/{tag}"}


def _described(blob: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "size": len(blob), "digest": f"sha256:{_hex(blob)}"}


def _hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
