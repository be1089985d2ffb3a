"""YAML and JSON as nodes that know where they stand: line and column, also of a word within a script.

PyYAML's composer gives the marks; JSON is read by it as well, once Python's own parser has vouched for it.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from itertools import accumulate

import yaml

_MERGE = "<<"
_NULL = "tag:yaml.org,2002:null"
_MOST_NODES = 100_000
"""A recipe has at most 16,000 bytes. Aliases of aliases make more of a few lines than fits in memory."""
_JOINED = re.compile(r"\\\r?\n[ \t]*")
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
"""Digits that follow, YAML 1.2, 5.7 "Escaped characters"."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something begins; both count from 1, in characters."""

    line: int
    column: int


class ReadError(ValueError):
    """A text that cannot be read, and the place where that shows; None: the file as a whole."""

    def __init__(self, place: Place | None, problem: str) -> None:
        super().__init__(
            f"line {place.line}, column {place.column}: {problem}" if place else problem
        )
        self.place = place or Place(1, 1)
        self.problem = problem


class Kind(str, Enum):
    """What a node is."""

    SCALAR = "scalar"
    LIST = "list"
    MAP = "map"
    NULL = "null"


class Source:
    """A text, and where its lines begin."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *accumulate(map(len, text.splitlines(keepends=True)))]
        # splitlines knows more line ends than editors and compilers, which count "\n".
        self._starts = [i for i in self._starts if i == 0 or text[i - 1] == "\n"]

    def place(self, index: int) -> Place:
        """The place of a character."""
        line = bisect.bisect_right(self._starts, index)
        return Place(line, index - self._starts[line - 1] + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One value. `text` is a scalar's, as a string, whatever YAML would make of it."""

    kind: Kind
    source: Source = field(repr=False)
    start: int
    end: int
    text: str = ""
    style: str = ""
    """How a scalar is written: `'`, `"`, `|`, `>`, or nothing."""
    items: tuple[Node, ...] = ()
    entries: tuple[tuple[Node, Node], ...] = ()

    @property
    def place(self) -> Place:
        """Where it begins; of a string in quotes, the quote."""
        return self.source.place(self.start)

    def entry(self, name: str) -> tuple[Node, Node] | None:
        """Key and value of a map by its key: in this very case, or else in any; the last of several."""
        found = None
        for key, value in reversed(self.entries):
            if key.text == name:
                return key, value
            if found is None and key.text.lower() == name.lower():
                found = key, value
        return found

    def find(self, *path: str) -> Node | None:
        """The value at a path of keys; None where one of them is not there, or null."""
        node = self
        for name in path:
            found = node.entry(name)
            if found is None or found[1].kind is Kind.NULL:
                return None
            node = found[1]
        return node

    def word(self, *path: str) -> str:
        """The text of the scalar at a path; empty where there is none."""
        found = self.find(*path)
        return found.text.strip() if found is not None else ""

    def plain(self) -> object:
        """Maps, lists, strings and None: scalars as strings, as Lite hands a YAML recipe's on."""
        if self.kind is Kind.LIST:
            return [item.plain() for item in self.items]
        if self.kind is Kind.MAP:
            return {key.text: value.plain() for key, value in self.entries}
        return None if self.kind is Kind.NULL else self.text

    def scalars(self) -> Iterator[Node]:
        """Every scalar value below, and itself; keys are none."""
        seen: set[int] = set()
        open_nodes = [self]
        while open_nodes:
            node = open_nodes.pop()
            if id(node) not in seen:
                seen.add(id(node))
                open_nodes += [*node.items, *(value for _, value in node.entries)][::-1]
                if node.kind is Kind.SCALAR:
                    yield node

    def place_of(self, offset: int) -> Place:
        """Where the character of a scalar's text at `offset` stands in the file."""
        indices = _indices(self)
        return self.source.place(min(indices[offset], self.end) if indices else self.start)


@lru_cache(maxsize=8)
def _indices(node: Node) -> tuple[int, ...]:
    """For each character of a scalar's text, and its end, the index in the file."""
    raw, at = node.source.text, node.start
    if node.style in ("'", '"'):
        at += 1
    elif node.style in ("|", ">"):
        at = raw.find("\n", at) + 1
    found = []
    for letter in node.text:
        at = _past_folds(node, at, letter)
        found.append(at)
        length = _length(node, at)
        # A line that is folded has one space for its break; the indentation is skipped above.
        if not letter.isspace() or raw[at : at + 1].isspace() or length > 1:
            at += length
    return (*found, at)


def _past_folds(node: Node, at: int, letter: str) -> int:
    """Where `letter` is to be looked for: past indentation, and past lines that a backslash joins."""
    raw = node.source.text
    if node.style == '"':
        while joined := _JOINED.match(raw, at):
            at = joined.end()
    while not letter.isspace() and raw[at : at + 1].isspace():
        at += 1
    return at


def _length(node: Node, at: int) -> int:
    """How many characters of the file one of the text takes."""
    raw = node.source.text
    if node.style == "'" and raw.startswith("''", at):
        return 2
    if node.style != '"' or raw[at : at + 1] != "\\":
        return 1
    return 2 + _HEX_ESCAPES.get(raw[at + 1 : at + 2], 0)


def read(text: str, *, is_json: bool = False) -> Node:
    """The one document in `text`. Raises ReadError."""
    source = Source(text)
    try:
        if is_json:
            json.loads(text)
            # Its tabs are YAML's only trouble with JSON; in strings there are none.
            text = text.replace("\t", " ")
        composed = yaml.compose(text, Loader=yaml.SafeLoader)
        if composed is None:
            raise ReadError(None, "it is empty")
        return _Conversion(source).node(composed)
    except json.JSONDecodeError as error:
        raise ReadError(Place(error.lineno, error.colno), f"no JSON: {error.msg}") from error
    except yaml.YAMLError as error:
        raise _yaml_problem(source, error) from error
    except RecursionError as error:
        raise ReadError(None, "it is nested too deeply") from error


def _yaml_problem(source: Source, error: yaml.YAMLError) -> ReadError:
    if isinstance(error, yaml.reader.ReaderError):
        return ReadError(source.place(error.position), f"no YAML: {error.reason}")
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    place = source.place(min(mark.index, len(source.text))) if mark is not None else None
    return ReadError(place, f"no YAML: {problem}{f' ({context})' if context else ''}")


class _Conversion:
    """From PyYAML's nodes to ours: each once, however often an alias names it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._done: dict[int, tuple[Node, int]] = {}
        self._open: set[int] = set()

    def node(self, given: yaml.Node) -> Node:
        return self._convert(given)[0]

    def _convert(self, given: yaml.Node) -> tuple[Node, int]:
        """The node, and how many there are in it when aliases are written out."""
        if id(given) in self._done:
            return self._done[id(given)]
        if id(given) in self._open:
            raise ReadError(self._place(given), "an alias stands within what it names")
        self._open.add(id(given))
        if isinstance(given, yaml.ScalarNode):
            node, size = self._scalar(given), 1
        elif isinstance(given, yaml.MappingNode):
            node, size = self._map(given)
        else:
            below = [self._convert(each) for each in given.value]
            size = 1 + sum(size for _, size in below)
            node = self._node(Kind.LIST, given, items=tuple(node for node, _ in below))
        if size > _MOST_NODES:
            raise ReadError(self._place(given), "its aliases make it too large")
        self._open.discard(id(given))
        self._done[id(given)] = node, size
        return node, size

    def _scalar(self, given: yaml.ScalarNode) -> Node:
        kind = Kind.NULL if given.tag == _NULL else Kind.SCALAR
        return self._node(kind, given, text=given.value, style=given.style or "")

    def _map(self, given: yaml.MappingNode) -> tuple[Node, int]:
        size = 1
        entries: list[tuple[Node, Node]] = []
        merged: list[tuple[Node, Node]] = []
        for each_key, each in given.value:
            (key, _), (value, more) = self._convert(each_key), self._convert(each)
            size += more
            if key.text == _MERGE and not key.style:
                merged += [entry for source in value.items or (value,) for entry in source.entries]
            else:
                entries.append((key, value))
        return self._node(Kind.MAP, given, entries=(*merged, *entries)), size

    def _node(
        self,
        kind: Kind,
        given: yaml.Node,
        *,
        text: str = "",
        style: str = "",
        items: tuple[Node, ...] = (),
        entries: tuple[tuple[Node, Node], ...] = (),
    ) -> Node:
        marks = given.start_mark.index, given.end_mark.index
        return Node(kind, self._source, *marks, text, style, items, entries)

    def _place(self, given: yaml.Node) -> Place:
        return self._source.place(given.start_mark.index)
