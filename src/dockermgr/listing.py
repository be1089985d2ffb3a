"""What the engine holds, asked for once for a whole batch of images."""

from __future__ import annotations

from typing import Protocol

from dockermgr.images import LocalImage, LocalImages
from dockermgr.reference import Reference
from dockermgr.singleflight import SingleFlight


class Holder(Protocol):
    """What is asked of the engine."""

    def images(self) -> LocalImages: ...


class Listing:
    """One listing of the engine for a whole batch of images; asked for at the first question."""

    def __init__(self, engine: Holder) -> None:
        self._engine = engine
        self._flights: SingleFlight[None, LocalImages] = SingleFlight()
        self._images: LocalImages | None = None

    def find(self, reference: Reference) -> LocalImage | None:
        """The image as of that listing. Raises what the engine raises."""
        return self.load().find(reference)

    def load(self) -> LocalImages:
        """Asks the engine, unless it was asked before. Raises what the engine raises."""
        if self._images is None:
            self._images = self._flights.run(None, self._engine.images)
        return self._images
