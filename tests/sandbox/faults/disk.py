"""A disk that is soon full."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.sandbox.processes import SYSTEM_PATH


@contextlib.contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """A file system of that size in a new folder: in memory, where an engine's overlay2 works."""
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=711", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        # Lazily: the kernel may not have let go of a killed engine's mounts yet.
        _run("umount", "--lazy", str(folder))
        folder.rmdir()


def _run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, env={"PATH": SYSTEM_PATH})
