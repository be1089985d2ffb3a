"""How findings are written: for people, for programs, and as annotations of GitHub Actions. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable

from dockermgr.lint.findings import Finding

Form = Callable[[str, Finding], str]


def for_people(file: str, found: Finding) -> str:
    """As compilers do, so that editors find the place; the mend on a line of its own."""
    place = f"{file}:{found.place.line}:{found.place.column}"
    return f"{place}: {found.severity.value}: {found.message} [{found.rule}]\n    {found.mend}"


def for_programs(file: str, found: Finding) -> str:
    """One JSON object."""
    return json.dumps(
        {
            "file": file,
            "line": found.place.line,
            "column": found.place.column,
            "severity": found.severity.value,
            "rule": found.rule,
            "message": found.message,
            "mend": found.mend,
        }
    )


def for_github(file: str, found: Finding) -> str:
    """An annotation: GitHub Docs, "Workflow commands for GitHub Actions"."""
    properties = {
        "file": file,
        "line": str(found.place.line),
        "col": str(found.place.column),
        "title": f"{found.summary} [{found.rule}]",
    }
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{found.severity.value} {written}::{_data(f'{found.message}; {found.mend}')}"


FORMS: dict[str, Form] = {"text": for_people, "json": for_programs, "github": for_github}


def _data(text: str) -> str:
    """As the runner reads it back (actions/toolkit, command.ts)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
