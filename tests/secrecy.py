"""A pytest plugin: a test in which the product lets a secret of the sandbox show does not pass.

The sandbox has looked at logs, messages and files by the end of a test (`Core`, `Harness`). Added
here is what the product does in pytest's own process: its log, its errors, and its output.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator
from typing import Any

import pytest

from dockermgr.errors import DockermgrError
from dockermgr.redact import RedactingFormatter
from tests.sandbox.secrets import SECRETS

_errors: list[str] = []


class _Log(logging.Handler):
    """Keeps the lines of the product's log as the product writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(RedactingFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


_log = _Log()


def pytest_configure() -> None:
    """Listens to the product's log, at any level, and to the making of its errors."""
    logger = logging.getLogger("dockermgr")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(_log)
    make = DockermgrError.__init__

    def make_and_note(error: DockermgrError, *arguments: Any, **options: Any) -> None:
        make(error, *arguments, **options)
        _errors.append(str(error))

    DockermgrError.__init__ = make_and_note  # type: ignore[method-assign, assignment]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Looks when everything of a test is over: what was found makes an error of its teardown."""
    report = yield
    steps = call.excinfo.traceback if call.excinfo is not None else ()
    if call.excinfo is not None and any("/src/dockermgr/" in str(step.path) for step in steps):
        SECRETS.look("a traceback", "".join(traceback.format_exception(call.excinfo.value)))
    if report.when == "teardown":
        for title, text in report.sections:
            if "log" not in title:  # which pytest writes, not the product
                SECRETS.look(title, text)
        SECRETS.look("the log within pytest's process", "\n".join(_log.lines))
        SECRETS.look("an error of the product's", "\n".join(_errors))
        _log.lines.clear()
        _errors.clear()
        if found := SECRETS.end_test():
            report.outcome = "failed"
            report.longrepr = "\n".join(["secrets show:", *found])
    return report
