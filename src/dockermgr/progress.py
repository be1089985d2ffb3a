"""From the engine's pull events to bytes, percent and stage: a pure state machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

DOWNLOAD_SHARE = 0.7
"""Downloading counts for 70 %, extracting for 30 % (Home Assistant's supervisor, field-tested)."""


class Stage(str, Enum):
    """What the engine is busy with."""

    RESOLVING = "resolving"
    DOWNLOADING = "downloading"
    EXTRACTING = "extracting"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a pull. `total_bytes` grows while the engine discovers the layers."""

    stage: Stage
    downloaded_bytes: int
    total_bytes: int
    percent: int


@dataclass(slots=True)
class _Layer:
    total_bytes: int = 0
    downloaded_bytes: int = 0
    download_share: float = 0.0
    extract_share: float = 0.0
    downloading: bool = False
    present: bool = False
    """Was here before: takes no part in the sums."""


class PullProgress:
    """Feed it each event of one pull; `progress` never goes backwards in percent."""

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}
        self._percent = 0
        self._finished = False
        self._is_docker = False
        self.digest: str | None = None
        """What the engine said the name stands for, once it has said so."""

    def feed(self, event: Mapping[str, object]) -> None:
        """Takes one decoded event; ones it does not know change nothing."""
        status = event.get("status")
        if not isinstance(status, str):
            return
        # Only Docker begins with it.
        self._is_docker = self._is_docker or status.startswith("Pulling from")
        if status.startswith("Digest: "):
            self.digest = status.removeprefix("Digest: ").strip()
            return
        layer_id = event.get("id")
        if isinstance(layer_id, str) and not status.startswith("Pulling from"):
            self._feed_layer(self._layers.setdefault(layer_id, _Layer()), status, event)

    @property
    def receiving(self) -> bool:
        """Bytes of some layer were coming: silence from here on is a dead connection.

        Else it may be slow storage: containerd's store and Podman extract without a word, containerd's
        also before the first word of a layer, after a kill in the midst of it. Podman says of a layer
        that it is complete only when it is extracted, too: so never true there.
        """
        return self._is_docker and any(layer.downloading for layer in self._layers.values())

    def finish(self) -> None:
        """The stream has ended, and no error was in it: all is here.

        Docker 26 with containerd's store and Podman say nothing of extraction, and of layers that
        were here before: their last words are `Download complete`.
        """
        self._finished = True
        for layer in self._layers.values():
            layer.downloaded_bytes = layer.total_bytes
            layer.download_share = layer.extract_share = 1.0

    @staticmethod
    def _feed_layer(layer: _Layer, status: str, event: Mapping[str, object]) -> None:
        detail = event.get("progressDetail")
        current = total = 0
        # The containerd store counts extraction in seconds and says so in `units`.
        if isinstance(detail, Mapping) and not detail.get("units"):
            current, total = _as_count(detail.get("current")), _as_count(detail.get("total"))
        layer.downloading = status == "Downloading"
        if status == "Downloading":
            layer.total_bytes = max(layer.total_bytes, total)
            layer.downloaded_bytes = current
            layer.download_share = _share(current, total)
        elif status in {"Verifying Checksum", "Download complete"}:
            layer.downloaded_bytes = layer.total_bytes
            layer.download_share = 1.0
        elif status == "Extracting":
            layer.total_bytes = max(layer.total_bytes, total)
            layer.downloaded_bytes, layer.download_share = layer.total_bytes, 1.0
            layer.extract_share = max(layer.extract_share, _share(current, total))
        elif status == "Pull complete":
            layer.downloaded_bytes = layer.total_bytes
            layer.download_share = layer.extract_share = 1.0
        elif status == "Already exists":
            layer.present = True
        elif status.startswith("Retrying in"):
            layer.downloaded_bytes, layer.download_share = 0, 0.0

    @property
    def progress(self) -> Progress:
        """The state now."""
        layers = [layer for layer in self._layers.values() if not layer.present]
        total = sum(layer.total_bytes for layer in layers)
        downloaded = sum(min(layer.downloaded_bytes, layer.total_bytes) for layer in layers)
        self._percent = 100 if self._finished else max(self._percent, self._percent_of(layers))
        stage = Stage.COMPLETE if self._finished else self._stage(layers)
        return Progress(stage, downloaded, total, self._percent)

    @staticmethod
    def _percent_of(layers: list[_Layer]) -> int:
        known = [layer.total_bytes for layer in layers if layer.total_bytes]
        # A layer whose size the engine has not said yet weighs as much as the known ones do on average.
        average = sum(known) / len(known) if known else 1.0
        weight = done = 0.0
        for layer in layers:
            size = layer.total_bytes or average
            weight += size
            done += size * (
                DOWNLOAD_SHARE * layer.download_share + (1 - DOWNLOAD_SHARE) * layer.extract_share
            )
        # A hair more, since 0.7 + 0.3 may come out as a hair less than 1.
        return min(100, int(100 * done / weight + 1e-9)) if weight else 0

    @staticmethod
    def _stage(layers: list[_Layer]) -> Stage:
        if not layers:
            return Stage.RESOLVING
        if any(layer.download_share < 1 for layer in layers):
            return Stage.DOWNLOADING
        if any(layer.extract_share < 1 for layer in layers):
            return Stage.EXTRACTING
        return Stage.COMPLETE


def _as_count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _share(current: int, total: int) -> float:
    return min(1.0, current / total) if total else 0.0
