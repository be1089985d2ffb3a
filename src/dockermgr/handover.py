"""The component's configuration, as the service hands it over to the command line.

A dependent's script that pulls or runs an image keeps to the same registries, mirrors and limits,
also when the nucleus or the service is away.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from dockermgr.config import Config, parse_config
from dockermgr.errors import DockermgrError, ErrorCode

log = logging.getLogger(__name__)

FILE_NAME = "configuration.json"
_KEYS = (
    "maxConcurrentPulls",
    "retry",
    "timeouts",
    "registries",
    "allowedRegistries",
    "requireDigest",
    "minFreeBytes",
)
"""What pulling goes by. There are no secrets in it: only where they are."""


def hand_over(home: Path, raw: object) -> None:
    """Writes the configuration `raw`, as the nucleus gave it. Never raises."""
    kept = {key: raw[key] for key in _KEYS if key in raw} if isinstance(raw, Mapping) else {}
    temporary = home / f".{FILE_NAME}"
    try:
        text = json.dumps(kept)
        if _text(home) == text:
            return
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o640)
        temporary.replace(home / FILE_NAME)
    except (OSError, TypeError, ValueError) as error:
        log.warning("the command line will not see this configuration error=%s", error)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def taken_over(home: Path) -> Config:
    """The configuration that was handed over last; the defaults where none was.

    Raises COMPONENT_CONFIGURATION_NOT_VALID: to go on without an allow-list would be no favour.
    """
    try:
        text = _text(home)
        raw = json.loads(text) if text is not None else None
    except (OSError, ValueError) as error:
        raise DockermgrError(
            ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID,
            f"the manager's configuration, {home / FILE_NAME}, cannot be read: {error}",
            hint="restart the manager, which writes it anew, and run this as the same user",
        ) from error
    return parse_config(raw)[0]


def _text(home: Path) -> str | None:
    try:
        return (home / FILE_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
