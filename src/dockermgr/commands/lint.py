"""`dockermgr lint`: mistakes in recipes that use containers, before anything is published."""

from __future__ import annotations

import argparse
import re
import sys
from difflib import get_close_matches

from dockermgr.errors import ExitCode
from dockermgr.lint.check import RULES, lint, unreadable
from dockermgr.lint.findings import Finding, Nucleus, Severity
from dockermgr.lint.report import FORMS
from dockermgr.lint.subject import Options
from dockermgr.nodes import ReadError
from dockermgr.recipe_file import text_of

HELP = "find mistakes in recipes that use containers, with the line and how to mend each"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="a file, YAML or JSON")
    parser.add_argument("--format", choices=tuple(FORMS), default="text", help="default: text")
    parser.add_argument(
        "--json", dest="format", action="store_const", const="json", help="one object a line"
    )
    parser.add_argument(
        "--ignore",
        type=_rules,
        action="extend",
        default=[],
        metavar="RULE,…",
        help="leave these rules out",
    )
    parser.add_argument("--strict", action="store_true", help="end with 2 for warnings, too")
    parser.add_argument(
        "--nucleus",
        choices=[each.value for each in Nucleus],
        default=Nucleus.BOTH.value,
        help="what it is for (default both: Lite's rules where `runtime` says that it is for Lite)",
    )
    parser.add_argument("--region", type=_region, metavar="R", help="the device's AWS Region")
    parser.add_argument("--account", type=_account, metavar="A", help="the device's AWS account")


def _rules(text: str) -> list[str]:
    rules = [rule for rule in re.split(r"[\s,]+", text) if rule]
    for rule in rules:
        if rule not in RULES:
            near = get_close_matches(rule, RULES, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise argparse.ArgumentTypeError(f"there is no rule {rule!r}{meant}")
    return rules


def _region(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: write a Region, as us-east-1")
    return text


def _account(text: str) -> str:
    if not re.fullmatch(r"[0-9]{12}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: write the account's 12 digits")
    return text


def run(arguments: argparse.Namespace) -> int:
    """Prints what it found; 2 when something is an error, or with `--strict` anything at all."""
    # A recipe may hold what this terminal cannot show.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    options = Options(Nucleus(arguments.nucleus), arguments.region or "", arguments.account or "")
    write = FORMS[arguments.format]
    counts = dict.fromkeys(Severity, 0)
    for name in arguments.recipes:
        for found in _lint(name, options, arguments.ignore):
            counts[found.severity] += 1
            print(write(name, found))
    errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
    if errors + warnings and arguments.format == "text":
        print(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}", file=sys.stderr)
    return ExitCode.USAGE if errors or (warnings and arguments.strict) else ExitCode.DONE


def _lint(name: str, options: Options, ignored: list[str]) -> tuple[Finding, ...]:
    try:
        return lint(text_of(name), name, options, ignored)
    except ReadError as error:
        return (unreadable(error),)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
