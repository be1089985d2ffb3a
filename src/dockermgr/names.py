"""The names of images that are loaded: what they stood for before, and what they are to stand for."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterable
from typing import Protocol

from dockermgr.errors import DockermgrError
from dockermgr.images import LocalImage
from dockermgr.reference import Reference, parse_reference


class NamingEngine(Protocol):
    """What names need of the engine."""

    def find(self, name: str) -> LocalImage | None: ...

    def tag(self, image_id: str, reference: Reference) -> None: ...

    def untag(self, reference: Reference) -> None: ...


class Names:
    """Whole names, as `Reference` writes them, in one engine."""

    def __init__(self, engine: NamingEngine) -> None:
        self._engine = engine
        self._held: dict[str, LocalImage | None] = {}

    def look_up(self, names: Iterable[str]) -> tuple[LocalImage, ...]:
        """The images of these names or ids, each once."""
        found = [self._engine.find(name) for name in names]
        return tuple({image.image_id: image for image in found if image}.values())

    def missing(self, names: Iterable[str], ids: Collection[str]) -> list[str]:
        """Those that stand for none of these images."""
        found = {name: self._engine.find(name) for name in names}
        return [name for name, image in found.items() if not image or image.image_id not in ids]

    def give(
        self, names: Collection[str], images: tuple[LocalImage, ...]
    ) -> tuple[LocalImage, ...]:
        """Gives the only image these names; returns how it is then."""
        for name in names:
            self._engine.tag(images[0].image_id, parse_reference(name))
        return self.look_up(image.image_id for image in images) if names else images

    def hold(self, names: Iterable[str]) -> None:
        """Remembers what the names stand for, before a load takes them away.

        containerd's store forgets an image with its last name, and names a loaded one before it finds
        out that it is broken: there the old one gets another name for so long.
        """
        self._held = {name: self._engine.find(name) for name in names}
        for name, image in self._held.items():
            if image and image.named_by_manifest:
                self._engine.tag(image.image_id, _spare(name))

    def restore(self) -> None:
        """Puts the names back to what they stood for, as far as the engine lets us."""
        for name, image in self._held.items():
            with contextlib.suppress(DockermgrError):
                if image is None:
                    self._engine.untag(parse_reference(name))
                else:
                    self._engine.tag(image.image_id, parse_reference(name))

    def release(self) -> None:
        """Takes the other names away again."""
        for name, image in self._held.items():
            if image and image.named_by_manifest:
                # An image that a container uses keeps its last name, which does no harm.
                with contextlib.suppress(DockermgrError):
                    self._engine.untag(_spare(name))
        self._held = {}


def _spare(name: str) -> Reference:
    return Reference("docker.io", "dockermgr/kept", hashlib.sha256(name.encode()).hexdigest()[:32])
