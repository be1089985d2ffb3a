"""What lint says: rules, and where one of them found something."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dockermgr.nodes import Node, Place


class Severity(str, Enum):
    """How bad it is."""

    ERROR = "error"
    """It fails, or shows a secret."""
    WARNING = "warning"
    """It works until something changes, or not everywhere."""


class Nucleus(str, Enum):
    """What a recipe is to run on. `BOTH`: on Lite where it says so, by `runtime` under `Platform`."""

    BOTH = "both"
    JAVA = "java"
    LITE = "lite"


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of mistake. Its id is a stable name; docs/lint.md has a section for each."""

    id: str
    severity: Severity
    summary: str
    """In a few words, for annotations."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake: what is wrong and why, and what to do about it."""

    rule: str
    severity: Severity
    place: Place
    message: str
    mend: str
    summary: str = ""
    anchor_line: int = 0
    """Where the value begins in which it is; a script may have many lines, without room for a comment."""


def finding(
    rule: Rule,
    node: Node,
    message: str,
    mend: str,
    *,
    offset: int | None = None,
    severity: Severity | None = None,
) -> Finding:
    """A finding at a node, or at `offset` in its text."""
    return Finding(
        rule.id,
        severity or rule.severity,
        node.place if offset is None else node.place_of(offset),
        message,
        mend,
        rule.summary,
        node.place.line,
    )
