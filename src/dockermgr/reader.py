"""Reads untyped values (JSON, configuration) key by key, and remembers what was wrong and where."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

Choice = TypeVar("Choice", bound=Enum)

LARGEST_NUMBER = 1e9
"""Thirty years in seconds: more overflows the timeouts of threads."""
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong value: `path` as in `images[2].uri`, `message` says what is wrong and what to write."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path or 'configuration'}: {self.message}"


class Reader:
    """A map (or what should be one) at a path. Getters never raise: they report and give the default."""

    def __init__(self, raw: object, path: str = "", problems: list[Problem] | None = None) -> None:
        self.raw = _unwrap(raw)
        self.path = path
        self.problems: list[Problem] = [] if problems is None else problems
        self._used: set[str] = set()
        self._map: Mapping[str, object] = {}
        if isinstance(self.raw, Mapping):
            self._map = self.raw
        elif not _absent(self.raw) and not path.endswith("]"):
            self.complain("", f"must be a map, is {_show(self.raw)}")

    def complain(self, key: str, message: str) -> None:
        """Reports `message` about `key` (empty: about this very value)."""
        self.problems.append(Problem(self._path_of(key), message))

    def _path_of(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path and key else self.path or key

    def names(self) -> tuple[str, ...]:
        """Every key of the map; for maps whose keys are data."""
        return tuple(self._map)

    def take(self, key: str) -> object:
        """The bare value of `key`, None where absent; marks it as known."""
        self._used.add(key)
        value = _unwrap(self._map.get(key))
        return None if _absent(value) else value

    def ignore(self, *keys: str) -> None:
        """Keys that are known and read elsewhere."""
        self._used.update(keys)

    def report_unknown(self) -> None:
        """Complains of each key that nobody took, naming the known one it resembles."""
        from difflib import get_close_matches  # only when somebody mistyped

        for key in self._map:
            if key not in self._used:
                close = get_close_matches(key, self._used, n=1)
                meant = f"; did you mean {close[0]}?" if close else ""
                self.complain(key, f"is not a known key, so it has no effect{meant}")

    def child(self, key: str) -> Reader:
        """The map at `key`; an empty one where absent."""
        return Reader(self.take(key), self._path_of(key), self.problems)

    def items(self, key: str) -> Iterator[Reader]:
        """A reader for each entry of the list at `key`; entries are strings or maps."""
        value = self.take(key)
        if value is None:
            return
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            self.complain(key, f"must be a list, is {_show(value)}")
            return
        for index, item in enumerate(map(_unwrap, value)):
            path = f"{self._path_of(key)}[{index}]"
            if isinstance(item, str | Mapping):
                yield Reader(item if isinstance(item, str) else dict(item), path, self.problems)
            else:
                self.problems.append(Problem(path, f"must be a string or a map, is {_show(item)}"))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of non-empty strings."""
        found = []
        for item in self.items(key):
            if isinstance(item.raw, str) and item.raw.strip():
                found.append(item.raw.strip())
            else:
                item.complain("", "must be a non-empty string")
        return tuple(found)

    def text(self, key: str, default: str) -> str:
        """A string."""
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, str):
            return value.strip()
        self.complain(key, f"must be a string, is {_show(value)}; {default!r} applies")
        return default

    def one_of(self, key: str, allowed: Sequence[str]) -> str:
        """One of `allowed`, compared without case; the first is the default."""
        value = self.text(key, allowed[0])
        for choice in allowed:
            if value.lower() == choice.lower():
                return choice
        self.complain(
            key, f"must be one of {', '.join(allowed)}, is {_show(value)}; {allowed[0]} applies"
        )
        return allowed[0]

    def choice(self, key: str, kind: type[Choice]) -> Choice | None:
        """A member of an enumeration of strings, compared without case; None when absent or empty."""
        value = self.text(key, "")
        for member in kind:
            if value.lower() == str(member.value).lower():
                return member
        if value:
            names = ", ".join(str(member.value) for member in kind)
            self.complain(key, f"must be one of {names}, is {_show(value)}; it has no effect")
        return None

    def number(
        self, key: str, default: float, *, least: float, most: float = LARGEST_NUMBER
    ) -> float:
        """A finite number of at least `least`, also when it arrives as a string."""
        value = self.take(key)
        if value is None:
            return default
        number = _as_number(value)
        if number is None or number < least:
            self.complain(
                key,
                f"must be a number of at least {least:g}, is {_show(value)}; {default:g} applies",
            )
            return default
        return min(number, most)

    def integer(self, key: str, default: int, *, least: int, most: float = LARGEST_NUMBER) -> int:
        """A whole number of at least `least`; 3, 3.0 and "3" are the same."""
        number = self.number(key, default, least=least, most=most)
        if number != int(number):
            self.complain(key, f"must be a whole number, is {number:g}; {default} applies")
            return default
        return int(number)

    def boolean(self, key: str, *, default: bool) -> bool:
        """true or false, also when it arrives as a string."""
        value = self.take(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        text = str(value).strip().lower()
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        self.complain(
            key, f"must be true or false, is {_show(value)}; {str(default).lower()} applies"
        )
        return default


def _unwrap(value: object) -> object:
    """Lists and maps that travelled through a script arrive as JSON text."""
    if isinstance(value, str) and value.strip()[:1] in {"[", "{"}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, str) and value in {"null", ""})


def _as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _show(value: object) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = "nested too deeply"
    return text if len(text) <= 60 else f"{text[:57]}..."
