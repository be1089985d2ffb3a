"""How long a registry asks to be left alone: in texts, and in the header `Retry-After`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.retry_after import (
    LONGEST_RETRY_AFTER_SECONDS,
    header_seconds,
    retry_after_seconds,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("toomanyrequests: retry-after: 718µs, allowed: 44000/minute", 718e-6),
        ("retry-after: 718.272us", 718.272e-6),
        ("retry-after: 250ms", 0.25),
        ("retry-after: 12ns", 12e-9),
        ("retry-after: 30s", 30),
        ("retry-after: 30 s", 30),
        ("Retry-After: 30", 30),
        ("Retry After 30", 30),
        ('"retry-after":"5"', 5),
        ("retry-after: 2m", 120),
        ("retry-after: 1h", 3600),
        ("retry-after: 0", 0),
    ],
)
def test_waits_are_read(text: str, seconds: float) -> None:
    assert retry_after_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "retry later", "retry-after:", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", "after 30 s"],
)
def test_a_text_without_a_wait(text: str) -> None:
    assert retry_after_seconds(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("retry-after: 718\u03bcs", 718e-6),  # the Greek letter; the other one is U+00B5
        ("retry after 5 \u017f", 5),  # a letter that is an s without case
        ("retry-after: 1m30s", 90),
        ("retry-after: 1h2m3s", 3723),
    ],
)
def test_waits_of_several_units_or_odd_letters_are_read(text: str, seconds: float) -> None:
    assert retry_after_seconds(text) == pytest.approx(seconds)


def test_nobody_can_ask_for_a_wait_without_end() -> None:
    assert retry_after_seconds("retry-after: 1000000h") == LONGEST_RETRY_AFTER_SECONDS


def headers(asked: str, date: str = "") -> dict[str, str]:
    return {"Retry-After": asked, "Date": date}


@pytest.mark.parametrize(
    ("asked", "date", "seconds"),
    [
        ("0", "", 0),
        ("30", "", 30),
        ("9" * 400, "", LONGEST_RETRY_AFTER_SECONDS),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:27:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 08:00:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", "Wed, 21 Oct 2015 07:27:30 GMT", 30),
        # Without a date of the server's the device's own clock counts: that was long ago.
        ("Wed, 21 Oct 2015 07:28:00 GMT", "", 0),
    ],
)
def test_the_header_is_read_in_both_forms(asked: str, date: str, seconds: float) -> None:
    assert header_seconds(headers(asked, date)) == pytest.approx(seconds)


@pytest.mark.parametrize("asked", ["", "soon", "-5", "1.5", "٣", "Wed, 99 Oct 2015 07:28:00 GMT"])
def test_a_header_in_no_known_form_asks_for_nothing(asked: str) -> None:
    assert header_seconds(headers(asked)) is None


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x7F), max_size=60))
def test_any_header_is_a_sensible_wait_or_none(asked: str) -> None:
    seconds = header_seconds(headers(asked))
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_SECONDS
