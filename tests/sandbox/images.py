"""Images made in pure Python, without an engine, and pushed to a sandbox registry.

The same arguments give the same digests, on every machine with the same busybox. A layer of busybox
makes them run; layers of random bytes give them size.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import platform as machine
import random
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.sandbox.processes import SandboxError
from tests.sandbox.registry import Registry

_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_OCI = "application/vnd.oci.image.manifest.v1+json"
_OCI_LIST = "application/vnd.oci.image.index.v1+json"
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CREATED = "2026-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_MIB = 1024 * 1024
PATH = "PATH=/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image says that it runs on."""

    architecture: str = _ARCHITECTURES.get(machine.machine(), machine.machine())
    os: str = "linux"
    variant: str = ""

    def as_json(self) -> dict[str, str]:
        """In the form of manifest lists and image configurations."""
        described = {"architecture": self.architecture, "os": self.os}
        return {**described, "variant": self.variant} if self.variant else described


@dataclass(frozen=True, slots=True)
class Layer:
    """A gzipped tar archive, and the digest of what is in it."""

    blob: bytes = field(repr=False)
    diff_id: str


@dataclass(frozen=True, slots=True)
class PushedImage:
    """What a registry now has."""

    reference: str
    """`host/repository:tag`, as the engine is asked for it."""
    manifest_digest: str
    config_digest: str
    """The image's id on engines without the containerd image store."""
    layer_sizes: tuple[int, ...]
    """Compressed, in bytes: what a pull downloads."""
    platform: Platform

    @property
    def digest_reference(self) -> str:
        """`host/repository@sha256:…`."""
        return f"{self.reference.rpartition(':')[0]}@{self.manifest_digest}"


@functools.lru_cache(maxsize=1)
def busybox_layer() -> Layer:
    """Debian's static busybox, with /bin/sh and all its other commands as links."""
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        raise SandboxError("The sandbox needs busybox-static: run `sudo sh tools/packages.sh`.")
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    links = sorted({*listed.stdout.split(), "sh"} - {"busybox"})
    return _layer(
        [
            _entry("bin", tarfile.DIRTYPE, 0o755),
            _entry("etc", tarfile.DIRTYPE, 0o755),
            _entry("tmp", tarfile.DIRTYPE, 0o1777),
            _file("bin/busybox", busybox.read_bytes(), 0o755),
            _file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n"),
            _file("etc/group", b"root:x:0:\n"),
            *(_entry(f"bin/{link}", tarfile.SYMTYPE, 0o777, link="busybox") for link in links),
        ]
    )


def random_layer(seed: int | str, size_bytes: int) -> Layer:
    """A file of random bytes, which no compression makes smaller: so none is tried."""
    content = random.Random(seed).randbytes(size_bytes)
    return _layer([_file(f"data-{seed}", content)], compression=0)


def file_layer(files: Mapping[str, bytes]) -> Layer:
    """Files by path, executable."""
    return _layer([_file(path.lstrip("/"), content, 0o755) for path, content in files.items()])


_Entry = tuple[tarfile.TarInfo, bytes]


def _entry(path: str, kind: bytes, mode: int, link: str = "") -> _Entry:
    entry = tarfile.TarInfo(path)
    entry.type = kind
    entry.mode = mode
    entry.linkname = link
    return entry, b""


def _file(path: str, content: bytes, mode: int = 0o644) -> _Entry:
    entry, _ = _entry(path, tarfile.REGTYPE, mode)
    entry.size = len(content)
    return entry, content


def _layer(entries: Sequence[_Entry], compression: int = 1) -> Layer:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry, content in entries:
            archive.addfile(entry, io.BytesIO(content))
    content = buffer.getvalue()
    diff_id = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Layer(gzip.compress(content, compression, mtime=0), diff_id)


def small_image() -> list[Layer]:
    """The layers of the smallest image that runs: about 1 MB."""
    return [busybox_layer()]


def large_image(
    seed: int | str = 0, *, layers: int = 5, layer_bytes: int = 8 * _MIB
) -> list[Layer]:
    """The layers of an image that takes a while to pull: by default 5 of 8 MiB and busybox."""
    return [busybox_layer(), *(random_layer(f"{seed}-{n}", layer_bytes) for n in range(layers))]


def push_image(
    registry: Registry,
    repository: str,
    tag: str = "latest",
    *,
    layers: Sequence[Layer] | None = None,
    platform: Platform | None = None,
    oci: bool = False,
    command: Sequence[str] = ("sh",),
    labels: Mapping[str, str] | None = None,
    host: str = "",
) -> PushedImage:
    """Pushes an image, by default the small one for this machine, and says what it became.

    `host` is for the reference, where the registry has several names. Images of the same layers
    share them in the registry and in the engine; other `labels` make them other images.
    """
    layers = small_image() if layers is None else layers
    platform = platform or Platform()
    config = json.dumps(
        {
            **platform.as_json(),
            "created": _CREATED,
            "config": {
                "Cmd": list(command),
                "Env": [PATH],
                "Labels": dict(labels or {}),
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": _CREATED, "created_by": "sandbox"} for _ in layers],
        }
    ).encode()
    media_type, config_type, layer_type = (
        (_OCI, _OCI_CONFIG, _OCI_LAYER) if oci else (_DOCKER, _DOCKER_CONFIG, _DOCKER_LAYER)
    )

    def described(blob: bytes, media_type: str) -> dict[str, object]:
        digest = registry.put_blob(repository, blob)
        return {"mediaType": media_type, "size": len(blob), "digest": digest}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": described(config, config_type),
            "layers": [described(layer.blob, layer_type) for layer in layers],
        }
    ).encode()
    return PushedImage(
        reference=f"{host or registry.name}/{repository}:{tag}",
        manifest_digest=registry.put_manifest(repository, tag, manifest, media_type),
        config_digest=f"sha256:{hashlib.sha256(config).hexdigest()}",
        layer_sizes=tuple(len(layer.blob) for layer in layers),
        platform=platform,
    )


def push_multi_platform(
    registry: Registry,
    repository: str,
    tag: str,
    platforms: Sequence[Platform],
    *,
    layers: Sequence[Layer] | None = None,
    oci: bool = False,
) -> tuple[str, list[PushedImage]]:
    """Pushes an image for each platform, and a manifest list: its digest, and the images."""
    images: list[PushedImage] = []
    entries: list[dict[str, object]] = []
    for platform in platforms:
        name = "-".join([*platform.as_json().values()])
        image = push_image(
            registry, repository, f"{tag}-{name}", layers=layers, platform=platform, oci=oci
        )
        response, manifest = registry.http(
            "GET",
            f"/v2/{repository}/manifests/{image.manifest_digest}",
            headers={"Accept": f"{_DOCKER}, {_OCI}"},
        )
        images.append(image)
        entries.append(
            {
                "mediaType": response.headers["Content-Type"],
                "size": len(manifest),
                "digest": image.manifest_digest,
                "platform": platform.as_json(),
            }
        )
    media_type = _OCI_LIST if oci else _DOCKER_LIST
    index = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()
    return registry.put_manifest(repository, tag, index, media_type), images
