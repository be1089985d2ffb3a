"""The licence of each dependency, by its wheels' metadata, and the texts that come in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import Parser
from pathlib import Path

from tools.bundle import is_wanted
from tools.wheels import Pin, files_of

# As SPDX writes it, for what is said in other words. The older field `License` is free text.
SPDX = {
    "Apache License 2.0": "Apache-2.0",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
}
# For those whose metadata cannot be read that way: what their licence file says.
BY_NAME = {"python-dateutil": "(Apache-2.0 AND BSD-3-Clause) OR BSD-3-Clause"}
# Those whose wheels have no licence file, though their licence is that of dockermgr itself.
WITHOUT_TEXT = {"awsiotsdk"}

_EXPRESSION = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")
_TEXT = re.compile(
    r"\.dist-info/(licenses/)?(?P<name>(LICEN[CS]E|NOTICE|COPYING)[^/]*)$", re.IGNORECASE
)


@dataclass(frozen=True)
class Package:
    """A dependency of which a device gets files."""

    name: str
    version: str
    licence: str
    """An SPDX expression."""
    required_by: tuple[str, ...]
    wheels: tuple[Path, ...]
    texts: Mapping[str, str] = field(default_factory=dict)
    """Licences and notices, by file name."""


class LicenceError(ValueError):
    """Nobody has looked at a dependency's licence yet."""


def packages(pins: Iterable[Pin], wheels: Iterable[Path], own_text: str) -> list[Package]:
    """The dependencies of which something is in the artifacts, by name.

    `own_text` is dockermgr's own licence. Raises LicenceError.
    """
    by_stem: dict[str, list[Path]] = {}
    for wheel in sorted(set(wheels)):
        by_stem.setdefault(wheel.name.partition("-")[0], []).append(wheel)
    found = []
    for pin in sorted(pins, key=lambda pin: pin.name):
        files = {
            path: content
            for wheel in by_stem.get(pin.name.replace("-", "_"), ())
            for path, content in files_of(wheel)
            if ".dist-info/" in path and is_wanted(path)
        }
        metadata = [c for path, c in files.items() if path.endswith(".dist-info/METADATA")]
        if not metadata:
            continue
        texts = {
            name["name"]: content.decode()
            for path, content in sorted(files.items())
            if (name := _TEXT.search(path))
        }
        if pin.name in WITHOUT_TEXT and not texts:
            texts = {"LICENSE": own_text}
        if not texts:
            raise LicenceError(f"{pin.name} has no licence file: see tools/licences.py")
        licence = licence_of(pin.name, Parser().parsestr(metadata[0].decode()))
        own = tuple(by_stem[pin.name.replace("-", "_")])
        found.append(Package(pin.name, pin.version, licence, pin.required_by, own, texts))
    return found


def licence_of(name: str, metadata: Message) -> str:
    """The SPDX expression of a distribution. Raises LicenceError where that takes a human."""
    said = metadata["License-Expression"] or metadata["License"] or ""
    expression = BY_NAME.get(name) or SPDX.get(said, said)
    if name not in BY_NAME and not _EXPRESSION.fullmatch(expression):
        raise LicenceError(
            f"{name} has the licence {said!r}: say in tools/licences.py what that is"
        )
    return expression


def as_text(found: Iterable[Package]) -> str:
    """One file with the whole texts, for people."""
    parts = ["Software of others in dockermgr's artifacts, with its licences and notices.\n"]
    for package in found:
        head = f"{package.name} {package.version}"
        parts.append(f"{'=' * 80}\n{head}\n{package.licence}\n")
        parts += [f"{'-' * 80}\n{name}\n\n{text.strip()}\n" for name, text in package.texts.items()]
    return "\n".join(parts)
