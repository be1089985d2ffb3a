"""A registry's own words, out of whatever it answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.refusal import words_of


def test_errors_are_written_as_engines_write_them() -> None:
    body = {
        "errors": [
            {"code": "MANIFEST_UNKNOWN", "message": "Requested image not found"},
            {"code": "DENIED"},
        ]
    }
    assert words_of(json.dumps(body).encode()) == (
        "manifest unknown: Requested image not found; denied: "
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"1",
        b'{"errors": 5}',
        b'{"errors": ["denied"]}',
        b'{"errors": [{"message": "x"}]}',
        b'{"errors": {"code": "x"}}',
        b"[" * 100_000,
        b'{"x": ' + b"9" * 1_000_000 + b"}",
        b"\xff\xfe",
    ],
)
def test_other_answers_have_no_words(body: bytes) -> None:
    assert words_of(body) == ""


def test_nobody_talks_for_ever() -> None:
    body = {"errors": [{"code": "DENIED", "message": "no " * 10_000}]}
    assert len(words_of(json.dumps(body).encode())) <= 500


@given(st.binary(max_size=200))
def test_any_answer_is_read(body: bytes) -> None:
    assert isinstance(words_of(body), str)
