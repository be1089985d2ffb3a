"""Secrets do not get into what is written."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

from dockermgr.redact import (
    MASK,
    RedactingFormatter,
    configure_logging,
    forget_secret,
    redact,
    remember_secret,
)

SECRET = "a-very-secret-token"


@pytest.fixture
def secret() -> Iterator[str]:
    remember_secret(SECRET)
    yield SECRET
    forget_secret(SECRET)


def test_a_secret_is_masked_wherever_it_stands(secret: str) -> None:
    assert redact(f"{secret}, again {secret}.") == f"{MASK}, again {MASK}."


def test_other_text_is_left_alone(secret: str) -> None:
    assert redact("nothing to hide") == "nothing to hide"


def test_a_forgotten_secret_is_text_again() -> None:
    remember_secret(SECRET)
    forget_secret(SECRET)
    forget_secret(SECRET)
    assert redact(SECRET) == SECRET


@pytest.mark.parametrize("short", ["", "a", "abc"])
def test_a_secret_too_short_to_protect_does_not_blank_out_the_text(short: str) -> None:
    remember_secret(short)
    assert redact("abc a") == "abc a"


def record(message: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("name", logging.INFO, __file__, 1, message, values, None)


def test_arguments_and_exceptions_of_a_log_record_are_masked(secret: str) -> None:
    formatter = RedactingFormatter("%(message)s")
    assert formatter.format(record("token %s", secret)) == f"token {MASK}"
    try:
        raise ValueError(secret)
    except ValueError:
        failed = record("failed")
        failed.exc_info = sys.exc_info()
    text = formatter.format(failed)
    assert "ValueError" in text
    assert secret not in text


def test_the_root_handler_masks(secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    quieted = [logging.getLogger(name) for name in ("awsiot", "botocore", "urllib3", "docker")]
    levels = [logger.level for logger in quieted]
    try:
        configure_logging(logging.INFO)
        logging.getLogger("dockermgr.any").info("got %s", secret)
        logging.getLogger("botocore.any").warning("noise")
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(f"INFO dockermgr.any got {MASK}")
    finally:
        root.handlers[:], root.level = before
        for logger, level in zip(quieted, levels, strict=True):
            logger.setLevel(level)


def test_a_secret_that_holds_other_ones_is_masked_as_a_whole() -> None:
    secrets = ["abcd", "abcdefgh", "abcdefghijkl", "bcde"]
    for secret in secrets:
        remember_secret(secret)
    try:
        assert redact("abcdefghijkl") == MASK
    finally:
        for secret in secrets:
            forget_secret(secret)
