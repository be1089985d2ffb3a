"""The component's configuration, as the service hands it over to the command line.

A dependent's script that pulls or runs an image keeps to the same registries, mirrors and limits,
also when the nucleus or the service is away.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from dockermgr.config import Config, parse_config
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.files import read_text, replace_text

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
    try:
        text = json.dumps(kept)
        if read_text(home / FILE_NAME) != text:
            replace_text(home / FILE_NAME, text, mode=0o640)
    except (OSError, TypeError, ValueError) as error:
        log.warning("the command line will not see this configuration error=%s", error)


def taken_over(home: Path) -> Config:
    """The configuration that was handed over last; the defaults where none was.

    Raises COMPONENT_CONFIGURATION_NOT_VALID: to go on without an allow-list would be no favour.
    """
    try:
        text = read_text(home / FILE_NAME)
        raw = json.loads(text) if text is not None else None
    except (OSError, ValueError) as error:
        raise DockermgrError(
            ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID,
            f"the manager's configuration, {home / FILE_NAME}, cannot be read: {error}",
            hint="restart the manager, which writes it anew, and run this as the same user",
        ) from error
    return parse_config(raw)[0]
