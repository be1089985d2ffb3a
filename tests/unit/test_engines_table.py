"""docs/engines.md and the markers of the tests say the same."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sandbox.engines import Variant

PROJECT = Path(__file__).resolve().parents[2]
TABLE = (PROJECT / "docs" / "engines.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)`: .*\|(.*)\|$", TABLE, re.MULTILINE)
MARK = re.compile(r'^@pytest\.mark\.not_on\("(\w+)", reason="(.+)"\)$', re.MULTILINE)
FUNCTION = re.compile(r"^def (test_\w+)", re.MULTILINE)
SOURCES = [
    file.read_text(encoding="utf-8") for file in (PROJECT / "tests" / "integration").rglob("*.py")
]


def marked() -> set[tuple[str, str, str]]:
    """Engine, test and reason, as the markers have them."""
    found = set()
    for source in SOURCES:
        for mark in MARK.finditer(source):
            function = FUNCTION.search(source, mark.end())
            assert function is not None
            found.add((mark[1], function[1], mark[2]))
    return found


def told() -> set[tuple[str, str, str]]:
    """The same, as the table has them."""
    return {
        (engine, *each)
        for engine, cell in ROWS
        for each in re.findall(r"`(test_\w+)`: ([^`]+)\.(?= )", cell)
    }


def test_each_engine_has_a_row() -> None:
    assert {engine for engine, _ in ROWS} == {variant.value for variant in Variant}


def test_markers_and_table_agree() -> None:
    assert marked() == told()


def test_only_whole_tests_are_marked() -> None:
    assert sum(source.count("not_on") for source in SOURCES) == len(marked())
