"""Platforms of images: one way to write them, and which of them a machine runs.

The rules are the engine's own, github.com/containerd/platforms: database.go for the names, compare.go
(`platformVector`) for what runs where. Only the normal form of arm64 is written out, `linux/arm64/v8`,
as in the engine's messages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_ARCHITECTURES = {
    **dict.fromkeys(("x86_64", "x86-64"), ("amd64", "")),
    **dict.fromkeys(("i386", "i486", "i586", "i686"), ("386", "")),
    "aarch64": ("arm64", "v8"),
    **dict.fromkeys(("armv5l", "armv5tel", "armv5tejl"), ("arm", "v5")),
    **dict.fromkeys(("armel", "armv6l"), ("arm", "v6")),
    **dict.fromkeys(("armhf", "armv7l"), ("arm", "v7")),
    "armv8l": ("arm", "v8"),
    "loongarch64": ("loong64", ""),
}
"""What `uname -m`, and so the engine's info, calls them, and Debian's own names."""

_VARIANTS = {
    ("amd64", "v1"): "",
    **dict.fromkeys((("arm64", form) for form in ("", "8", "v8.0")), "v8"),
    **dict.fromkeys((("arm64", form) for form in ("9", "9.0", "v9.0")), "v9"),
    ("arm", ""): "v7",
    **{("arm", number): f"v{number}" for number in "5678"},
}

_SYSTEMS = frozenset({"linux", "windows", "darwin", "freebsd"})
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_OLDEST_ARM = 5
_ARM64_V9_IS_V8_AND = 5
"""Armv9.n has what Armv8.(n+5) has."""


def normalise_platform(os: str, architecture: str, variant: str = "") -> str:
    """`linux`, `aarch64` → `linux/arm64/v8`; names that it does not know stay, in lower case."""
    os, architecture, variant = os.lower(), architecture.lower(), variant.lower()
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied
    variant = _VARIANTS.get((architecture, variant), variant)
    return "/".join(filter(None, (os, architecture, variant)))


def parse_platform(text: str) -> str:
    """The normal form of `os/architecture[/variant]`, or of an architecture alone (then linux).

    Raises ValueError for anything else.
    """
    parts = text.split("/")
    if not all(map(_NAME.fullmatch, parts)) or len(parts) > 3 or text.lower() in _SYSTEMS:
        raise ValueError(f"{text[:100]!a} is no platform; write os/architecture, as linux/arm64")
    return normalise_platform("linux", parts[0]) if len(parts) == 1 else normalise_platform(*parts)


def runs(platform: str) -> tuple[str, ...]:
    """The platforms whose images a machine of `platform` (in normal form) runs, its own first."""
    os, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    others: list[str] = []
    if architecture == "amd64":
        versions = range(_number(variant) - 1, 0, -1)
        others = [*(normalise_platform("", "amd64", f"v{n}") for n in versions), "386"]
    elif architecture == "arm":
        others = [f"arm/v{number}" for number in range(_number(variant) - 1, _OLDEST_ARM - 1, -1)]
    elif architecture == "arm64":
        others = [*_older_arm64(variant), "arm/v8", "arm/v7", "arm/v6", "arm/v5"]
    return (platform, *(f"{os}/{other}" for other in others))


def choose(wanted: str, offered: Sequence[str | None]) -> int | None:
    """Which of a list's platforms (in normal form; None: not stated) `wanted` gets; None for none.

    Engines differ where only the variant is wrong (20.10 takes any arm on arm, newer ones look at
    the processor's level for amd64) or where an entry names no platform. Those are chosen last:
    whether they fit is the engine's to say.
    """
    for candidate in runs(wanted):
        if candidate in offered:
            return offered.index(candidate)
    family = wanted.split("/")[:2]
    for index, platform in enumerate(offered):
        if platform is not None and platform.split("/")[:2] == family:
            return index
    return offered.index(None) if None in offered else None


def _older_arm64(variant: str) -> list[str]:
    major, _, minor_text = variant.removeprefix("v").partition(".")
    minor = _number(minor_text)
    below = [f"arm64/{_dotted(major, number)}" for number in range(minor - 1, -1, -1)]
    if major == "9":
        same = minor + _ARM64_V9_IS_V8_AND
        below += [f"arm64/{_dotted('8', number)}" for number in range(same, -1, -1)]
    return below


def _dotted(major: str, minor: int) -> str:
    return f"v{major}.{minor}" if minor else f"v{major}"


def _number(text: str) -> int:
    digits = text.removeprefix("v")
    return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) <= 2 else 0
