"""Free space where the engine keeps its data."""

from __future__ import annotations

import os


def free_bytes(folder: str) -> int | None:
    """Bytes that an ordinary user may still write there; None when the folder cannot be looked at."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
