"""Errors know what they are, and whether time mends them."""

from __future__ import annotations

import pytest

from dockermgr.errors import ENGINE_CODES, DockermgrError, ErrorCode, ExitCode, Retry


def test_a_code_is_its_own_name() -> None:
    assert all(code.value == code.name for code in ErrorCode)


def test_an_error_is_final_unless_it_says_otherwise() -> None:
    error = DockermgrError(ErrorCode.DOCKER_PULL_ERROR, "broken")
    assert error.retry is Retry.NEVER
    assert not error.retryable
    assert error.retry_after_seconds is None
    assert not error.credentials_refused


@pytest.mark.parametrize("retry", [Retry.LIMITED, Retry.UNTIL_MENDED])
def test_what_time_may_mend_is_retryable(retry: Retry) -> None:
    assert DockermgrError(ErrorCode.NETWORK_ERROR, "away", retry=retry).retryable


def test_the_text_has_code_message_and_mend() -> None:
    bare = DockermgrError(ErrorCode.NETWORK_ERROR, "away")
    assert str(bare) == "NETWORK_ERROR: away"
    assert bare.args == ("away",)
    assert str(DockermgrError(ErrorCode.NETWORK_ERROR, "away", hint="plug it in")) == (
        "NETWORK_ERROR: away (plug it in)"
    )


def test_exit_codes_are_the_documented_ones() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "USAGE": 2,
        "FAILED": 3,
        "TIMED_OUT": 4,
        "ENGINE": 5,
    }


def test_engine_codes_speak_of_the_engine() -> None:
    assert {code.value for code in ENGINE_CODES} == {
        "DOCKER_SERVICE_UNAVAILABLE",
        "USER_NOT_AUTHORIZED_FOR_DOCKER",
    }
