"""The corpus of `tests/fixtures/recipes`: what is right, and what is wrong with each mistake marked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dockermgr.lint.findings import Finding
from dockermgr.lint.subject import Options

RECIPES = Path(__file__).resolve().parents[1] / "fixtures" / "recipes"
_MARK = re.compile(r"«([a-z-]+)»")


@dataclass(frozen=True, slots=True)
class Case:
    """A wrong recipe: `«rule»` stands in its file where that rule is to find something."""

    name: str
    text: str
    options: Options
    expected: tuple[tuple[str, int, int], ...]
    """Rule, line and column."""


def cases() -> list[Case]:
    """Every wrong recipe."""
    return [_case(path) for path in sorted((RECIPES / "wrong").iterdir())]


def right() -> list[Path]:
    """Every recipe that nothing is wrong with."""
    return sorted((RECIPES / "right").iterdir())


def seen(findings: tuple[Finding, ...]) -> tuple[tuple[str, int, int], ...]:
    """Findings as a case has them."""
    return tuple(sorted((f.rule, f.place.line, f.place.column) for f in findings))


def _case(path: Path) -> Case:
    marked = path.read_text(encoding="utf-8")
    expected = []
    for number, line in enumerate(marked.splitlines(), 1):
        removed = 0
        for mark in _MARK.finditer(line):
            expected.append((mark[1], number, mark.start() - removed + 1))
            removed += len(mark[0])
    given = dict(re.findall(r"--(region|account) (\S+)", marked.splitlines()[0]))
    return Case(path.name, _MARK.sub("", marked), Options(**given), tuple(sorted(expected)))
