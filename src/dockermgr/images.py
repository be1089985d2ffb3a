"""What the engine holds, as one listing: looked up by reference without asking again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dockermgr.platforms import parse_platform
from dockermgr.reference import Reference


@dataclass(frozen=True, slots=True)
class LocalImage:
    """One image of the engine; names and digests as the engine writes them."""

    image_id: str
    size_bytes: int
    tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    platform: str | None = None
    """`os/architecture[/variant]`; None in a listing, which does not say."""

    @property
    def named_by_manifest(self) -> bool:
        """Whether its id is a manifest's digest, as in containerd's store, and not a configuration's."""
        return self.image_id in {entry.rpartition("@")[2] for entry in self.repo_digests}

    def digest_of(self, reference: Reference) -> str | None:
        """The manifest digest under which this image came from the reference's repository."""
        for name in _names(reference):
            for entry in self.repo_digests:
                if entry.startswith(f"{name}@"):
                    return entry.rpartition("@")[2]
        return None

    def fits(self, platform: str | None) -> bool:
        """Whether this is an image of `platform` (`linux/arm64`, `linux/arm/v7`); unknown fits."""
        if platform is None or not self.platform:
            return True
        if "/" not in platform and platform.lower() == self.platform.partition("/")[0]:
            return True  # `linux`
        have, want = _parts(self.platform), _parts(platform)
        both_say_variant = self.platform.count("/") == platform.count("/") == 2
        return have == want if both_say_variant else have[:2] == want[:2]


class LocalImages:
    """The engine's listing, indexed by every name it knows."""

    def __init__(self, images: Iterable[LocalImage]) -> None:
        self._by_name: dict[str, LocalImage] = {}
        for image in images:
            for name in (*image.tags, *image.repo_digests):
                self._by_name[name] = image

    def find(self, reference: Reference) -> LocalImage | None:
        """The image that `reference` names here; with a digest, the digest decides."""
        selector = f"@{reference.digest}" if reference.digest else f":{reference.effective_tag}"
        for name in _names(reference):
            found = self._by_name.get(name + selector)
            if found is not None:
                return found
        return None


def _parts(platform: str) -> list[str]:
    """In the engine's own normal form: it takes `aarch64`, `linux/x86_64` or `linux/arm64/8`, too."""
    try:
        return parse_platform(platform).split("/")
    except ValueError:
        return platform.lower().split("/")


def _names(reference: Reference) -> tuple[str, str]:
    """Docker lists familiar names (`nginx`), Podman whole ones (`docker.io/library/nginx`)."""
    return reference.familiar_name, reference.name
