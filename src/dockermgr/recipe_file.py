"""Recipes as files, and this machine as a nucleus sees it."""

from __future__ import annotations

import platform as machines
from pathlib import Path

from dockermgr.config import ImageSpec
from dockermgr.nodes import Place, ReadError
from dockermgr.platforms import parse_platform
from dockermgr.recipe import images, labels_of, labels_of_machine, read_recipe


def text_of(name: str) -> str:
    """A file's text. Raises ReadError for one that is not there, or is no text."""
    try:
        return Path(name).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ReadError(None, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        raise ReadError(Place(line, column), "no UTF-8; save it as UTF-8") from error


def images_of(name: str, platform: str | None) -> tuple[ImageSpec, ...]:
    """What the recipe in a file has for `platform` (`linux/arm64`), or for this machine.

    Raises ReadError, and ValueError for what is no platform.
    """
    labels = (
        labels_of(parse_platform(platform)) if platform else labels_of_machine(machines.machine())
    )
    return images(read_recipe(text_of(name), name), labels)
