"""docs/reliability.md and the tests that make its faults happen say the same."""

from __future__ import annotations

import re
from pathlib import Path

from dockermgr.errors import ErrorCode

PROJECT = Path(__file__).resolve().parents[2]
TABLE = (PROJECT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [line for line in TABLE.splitlines() if line.startswith("|") and "`test_" in line]


def functions_in(pattern: str) -> set[str]:
    found: set[str] = set()
    for file in (PROJECT / "tests" / "integration").glob(pattern):
        found.update(re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def test_each_row_names_a_test_that_there_is() -> None:
    named = [re.findall(r"`(test_\w+)`", row) for row in ROWS]
    assert all(len(names) == 1 for names in named)
    assert {name for (name,) in named} <= functions_in("test_*.py")


def test_each_fault_test_has_a_row() -> None:
    named = set(re.findall(r"`(test_\w+)`", TABLE))
    assert functions_in("test_faults_*.py") <= named


def test_the_codes_in_the_table_are_codes_that_there_are() -> None:
    codes = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z_]+)`", TABLE))
    assert codes <= {code.value for code in ErrorCode}
