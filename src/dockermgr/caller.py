"""Whose script this process belongs to."""

from __future__ import annotations

import os
from pathlib import Path


def calling_component() -> str:
    """A nucleus runs a component's scripts in the work folder that is named after it; else empty."""
    return Path.cwd().name if os.environ.get("SVCUID") else ""
