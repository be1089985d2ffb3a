"""All rules on one recipe, without what its comments silence. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from dockermgr.lint import depends, images, lite, running, secret
from dockermgr.lint.findings import Finding, Rule, Severity
from dockermgr.lint.subject import Options, subject
from dockermgr.nodes import Place, ReadError
from dockermgr.recipe import read_recipe

UNREADABLE = Rule("unreadable-recipe", Severity.ERROR, "The recipe cannot be read")
UNKNOWN_IGNORE = Rule("unknown-ignore", Severity.WARNING, "The comment silences no rule")

_GROUPS = (images, depends, running, secret, lite)
RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (UNREADABLE, UNKNOWN_IGNORE, *(rule for group in _GROUPS for rule in group.RULES))
}
"""Every rule by its id."""

_COMMENT = re.compile(r"#\s*dockermgr-lint:\s*ignore\s*=\s*([\w, -]*)")


def lint(
    text: str, name: str, options: Options, ignored: Collection[str] = ()
) -> tuple[Finding, ...]:
    """What is wrong in a file of that name, in the order of its lines."""
    try:
        recipe = read_recipe(text, name)
    except ReadError as error:
        return (unreadable(error),)
    lines = text.split("\n")
    silenced = _silenced(lines)
    about = subject(recipe, options)
    found = {finding for group in _GROUPS for finding in group.check(about)}
    found |= set(_unknown(lines))
    kept = [
        finding
        for finding in found
        if finding.rule not in ignored
        and finding.rule not in silenced.get(finding.place.line, ())
        and finding.rule not in silenced.get(finding.anchor_line, ())
    ]
    return tuple(sorted(kept, key=lambda each: (each.place, each.rule, each.message)))


def unreadable(error: ReadError) -> Finding:
    """The one finding of a file that is no recipe, or is not there."""
    return Finding(
        UNREADABLE.id,
        UNREADABLE.severity,
        error.place,
        error.problem,
        "correct the file; nothing else was looked at",
        UNREADABLE.summary,
    )


def _comments(lines: list[str]) -> Iterator[tuple[int, re.Match[str], list[str]]]:
    for number, line in enumerate(lines, 1):
        if found := _COMMENT.search(line):
            yield number, found, [rule for rule in re.split(r"[\s,]+", found[1]) if rule]


def _silenced(lines: list[str]) -> dict[int, set[str]]:
    """The rules that are silenced on each line: by a comment on it, or alone on the lines above."""
    silenced: dict[int, set[str]] = {}
    for number, found, rules in _comments(lines):
        silenced.setdefault(number, set()).update(rules)
        below = number
        if not lines[number - 1][: found.start()].strip():
            while below < len(lines) and lines[below - 1].lstrip().startswith("#"):
                below += 1
            silenced.setdefault(below, set()).update(rules)
    return silenced


def _unknown(lines: list[str]) -> Iterator[Finding]:
    for number, found, rules in _comments(lines):
        for rule in rules or [""]:
            if rule not in RULES:
                yield Finding(
                    UNKNOWN_IGNORE.id,
                    UNKNOWN_IGNORE.severity,
                    Place(number, found.start() + 1),
                    f"there is no rule {rule!r}",
                    "write the id that a finding has in brackets",
                    UNKNOWN_IGNORE.summary,
                    number,
                )
