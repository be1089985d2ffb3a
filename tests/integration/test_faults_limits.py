"""Registries that are overloaded or limit the rate: what they ask for is kept to."""

from __future__ import annotations

import datetime as dt
import email.utils
import math
from collections.abc import Callable

import pytest

from tests.integration.harness import Harness
from tests.integration.registry_faults import (
    IMAGE,
    QUICK,
    announced_wait,
    errors_of,
    https_between,
    moment,
)
from tests.sandbox.faults import answers
from tests.sandbox.faults.answers import Answer
from tests.sandbox.faults.rules import BLOBS, MANIFESTS, Fault

pytestmark = pytest.mark.timeout(150)

ASKED_SECONDS = 6
"""More than any back-off of these tests."""
TEXT = f"retry-after: {ASKED_SECONDS}s, allowed: 44000/minute"


def always(answer: Answer, path: str = MANIFESTS) -> Fault:
    return Fault(path=path, answer=answer, times=math.inf)


def in_text() -> Fault:
    return always(answers.too_many_requests(TEXT))


def in_seconds() -> Fault:
    return always(answers.too_many_requests(retry_after=str(ASKED_SECONDS)))


def at_the_login() -> Fault:
    return always(answers.too_many_requests(retry_after=str(ASKED_SECONDS)), "^/v2/")


def on_a_blob() -> Fault:
    return always(answers.too_many_requests(TEXT), BLOBS)


def as_a_server_error() -> Fault:
    limit = answers.registry_error(
        500, "TOOMANYREQUESTS", "slow down", Retry_After=str(ASKED_SECONDS)
    )
    return always(limit)


@pytest.mark.parametrize("limit", [in_text, in_seconds, at_the_login, on_a_blob, as_a_server_error])
def test_a_rate_limit_is_waited_out(harness: Harness, limit: Callable[[], Fault]) -> None:
    proxy = https_between(harness, limit())

    with harness.service({"images": [IMAGE], **QUICK}):
        limited = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.mend()
        ready = harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == ["THROTTLING_ERROR"]
    assert announced_wait(limited) > ASKED_SECONDS - 1
    assert moment(ready["timestamp"]) >= moment(limited["retryAt"])


def test_a_rate_limit_until_a_date_is_waited_out(harness: Harness) -> None:
    until = dt.datetime.now(dt.timezone.utc).replace(microsecond=0) + dt.timedelta(seconds=20)
    date = email.utils.format_datetime(until, usegmt=True)
    proxy = https_between(harness, always(answers.too_many_requests(retry_after=date)))

    with harness.service({"images": [IMAGE], **QUICK}):
        limited = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.mend()
        harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == ["THROTTLING_ERROR"]
    assert moment(limited["retryAt"]) >= until


def test_a_rate_limit_of_microseconds_is_tried_again_with_the_usual_wait(harness: Harness) -> None:
    proxy = https_between(harness, always(answers.too_many_requests(answers.GITHUB_LIMIT)))

    with harness.service({"images": [IMAGE], **QUICK}):
        limited = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.mend()
        harness.wait_for_image(IMAGE, "READY")

    assert limited["error"]["code"] == "THROTTLING_ERROR"
    assert "retry-after: 718µs" in limited["error"]["message"]
    assert announced_wait(limited) < ASKED_SECONDS


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_registry_with_trouble_of_its_own(harness: Harness, status: int) -> None:
    proxy = https_between(harness, always(answers.server_error(status)))

    with harness.service({"images": [IMAGE], **QUICK}):
        retrying = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.mend()
        harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == ["DOCKER_PULL_ERROR"]
    assert str(status) in retrying["error"]["message"]


def test_a_registry_that_says_when_it_will_be_back(harness: Harness) -> None:
    proxy = https_between(harness, always(answers.server_error(retry_after=str(ASKED_SECONDS))))

    with harness.service({"images": [IMAGE], **QUICK}):
        retrying = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.mend()
        ready = harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == ["DOCKER_PULL_ERROR"]
    assert announced_wait(retrying) > ASKED_SECONDS - 1
    assert moment(ready["timestamp"]) >= moment(retrying["retryAt"])
