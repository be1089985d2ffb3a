"""What stands in README.md and docs/: its blocks of code, for the tests that read or run them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, and its text."""

    file: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(PROJECT)}: {self.text[:60]!r}"


def documents() -> list[Path]:
    """README.md, docs/, and the examples' pages."""
    return [
        PROJECT / "README.md",
        *sorted(DOCS.glob("*.md")),
        *sorted(PROJECT.glob("examples/**/*.md")),
    ]


def blocks(file: Path, *languages: str) -> Iterator[Block]:
    """The blocks of these languages, in order; of all when none is named."""
    for _, language, text in _FENCE.findall(file.read_text(encoding="utf-8")):
        if not languages or language in languages:
            yield Block(file, language, text)


def without_blocks(text: str) -> str:
    """The prose: what may hold links and headings."""
    return _FENCE.sub("", text)


def block(name: str, language: str, words: str) -> str:
    """The text of the one block in docs/`name` that holds these words."""
    (found,) = (b.text for b in blocks(DOCS / name, language) if words in b.text)
    return found
