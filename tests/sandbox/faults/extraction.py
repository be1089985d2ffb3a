"""Storage so slow that layers which are here take their time to be unpacked."""

from __future__ import annotations

from pathlib import Path

from tests.sandbox.engines import Variant, docker_26_path
from tests.sandbox.processes import SYSTEM_PATH, wait_until


class HeldExtraction:
    """Holds up each layer's extraction until `release`; for an engine that is started with `path`.

    Docker and containerd let `unpigz` unpack layers where `PATH` has one: here it has one that waits.
    """

    def __init__(self, folder: Path, variant: Variant) -> None:
        folder.mkdir()
        rest = docker_26_path() if variant is Variant.DOCKER26 else SYSTEM_PATH
        self.path = f"{folder}:{rest}"
        self._held, self._begun = folder / "held", folder / "begun"
        self._held.touch()
        program = folder / "unpigz"
        program.write_text(
            f"#!/bin/sh\ntouch {self._begun}\n"
            f"while [ -e {self._held} ]; do sleep 0.1; done\nexec gzip -dc\n"
        )
        program.chmod(0o755)

    def wait_begun(self) -> None:
        """Returns when the engine has begun to unpack a layer."""
        wait_until(self._begun.exists, "the extraction of a layer")

    def release(self) -> None:
        """All goes on, and nothing is held any more."""
        self._held.unlink()
