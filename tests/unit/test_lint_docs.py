"""docs/lint.md has every rule, and what it says is wrong and right is so."""

from __future__ import annotations

import re

import pytest

from dockermgr.lint.check import RULES, lint
from dockermgr.lint.findings import Severity
from tests.unit.lint_cases import Case, cases
from tools.build import ROOT

TEXT = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"(?ms)^### ([a-z-]+)\n(.*?)(?=^##|\Z)", TEXT))


def test_every_rule_has_its_section_and_no_other_has() -> None:
    assert list(SECTIONS) == re.findall(r"\[([a-z-]+)\]\(#\1\)", TEXT)
    assert set(SECTIONS) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_the_severity_is_told(rule: str) -> None:
    told = SECTIONS[rule].strip().partition(".")[0].partition(",")[0].partition(";")[0]
    assert told == RULES[rule].severity.value.capitalize()
    assert RULES[rule].severity in Severity


@pytest.mark.parametrize("rule", RULES)
def test_what_is_shown_mends_it(rule: str) -> None:
    """The patch of the section, put on a recipe in which the rule finds something: then it does not."""
    (patch,) = re.findall(r"(?ms)^```diff\n(.*?)^```", SECTIONS[rule])
    pieces = [piece.splitlines() for piece in re.split(r"(?m)^@@\n", patch)]
    wrong = [case for case in cases() if rule in {found for found, _, _ in case.expected}]
    tried = [(case, new) for case in wrong if (new := patched(case, pieces)) is not None]
    before_and_after = [(count(rule, case), count(rule, new)) for case, new in tried]
    assert any(after < before for before, after in before_and_after), "or it fits no recipe"


def count(rule: str, case: Case) -> int:
    found = lint(case.text, case.name, case.options)
    assert rule == "unreadable-recipe" or "unreadable-recipe" not in {each.rule for each in found}
    return sum(each.rule == rule for each in found)


def patched(case: Case, pieces: list[list[str]]) -> Case | None:
    """The recipe with every piece in it, at the indentation that fits; None when one has no place."""
    text = case.text
    for piece in pieces:
        before, after = ([line[1:] for line in piece if line[0] in marks] for marks in (" -", " +"))
        for indentation in range(12):
            old = "".join(f"{' ' * indentation}{line}\n" for line in before)
            if old and f"\n{old}" in f"\n{text}":
                new = "".join(f"{' ' * indentation}{line}\n" for line in after)
                text = text.replace(old, new)
                break
        else:
            return None
    return Case(case.name, text, case.options, ())
