"""Small files that other processes read at any time."""

from __future__ import annotations

import contextlib
from pathlib import Path


def replace_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes the file in one step: who reads it meanwhile gets the old one or the new one.

    Raises OSError; the old one is then still there.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_text(path: Path) -> str | None:
    """The file's text, None when there is no such file. Raises OSError and UnicodeDecodeError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
