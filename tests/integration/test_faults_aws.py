"""TES and AWS in trouble: what the user sees, and that the image is there once it is mended."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.harness import IMAGE_TOPIC, MANAGER, Harness
from tests.sandbox.aws import Fault
from tests.sandbox.device import ECR_HOST
from tests.sandbox.images import large_image, push_image, random_layer
from tests.sandbox.ipc import PublishedMessage, StateReport
from tests.sandbox.processes import wait_until
from tests.sandbox.registry import Credentials
from tests.sandbox.tes import CREDENTIALS_PATH, TesFault

pytestmark = pytest.mark.timeout(180)

IMAGE = f"docker:{ECR_HOST}/app/one:1"
QUICK = {"retry": {"initialSeconds": 0.1, "maxSeconds": 0.1}}
"""Retries often: the tests are about whether, the unit tests of `retry` about when."""


def running(harness: Harness) -> None:
    harness.ipc.wait_for(StateReport, lambda report: report.state == "RUNNING")


def trouble(harness: Harness, words: str, state: str = "RETRYING") -> dict[str, Any]:
    """The first message in which an image is in that state because of an error with these words."""

    def fits(message: PublishedMessage) -> bool:
        if message.topic != IMAGE_TOPIC:
            return False
        content = message.json()
        return content["state"] == state and words in (content["error"] or {}).get("message", "")

    return harness.ipc.wait_for(PublishedMessage, fits).json()


def states(harness: Harness, image: str = IMAGE) -> list[str]:
    """The states that were said of an image, repetitions (progress) left out."""
    said = [m["state"] for m in harness.messages(IMAGE_TOPIC) if m["image"] == image]
    return [state for at, state in enumerate(said) if at == 0 or said[at - 1] != state]


def token_fetched(harness: Harness) -> None:
    """Returns when AWS has been asked for a token."""
    wait_until(lambda: bool(harness.device.aws.calls("GetAuthorizationToken")), "a token")


@pytest.fixture
def free_port() -> int:
    """A port that refuses connections until somebody listens there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Relay(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    target: int


class _RelayHandler(socketserver.BaseRequestHandler):
    server: _Relay

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.target)) as target:
            back = threading.Thread(target=_pump, args=(target, self.request), daemon=True)
            back.start()
            _pump(self.request, target)
            back.join(10)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def listening(port: int, target: int) -> Iterator[None]:
    """What listens on `target` listens on `port`, too."""
    with _Relay(("127.0.0.1", port), _RelayHandler) as relay:
        relay.target = target
        thread = threading.Thread(target=relay.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            relay.shutdown()
            thread.join()


def token_answer(password: str, life_seconds: float = 12 * 3600) -> bytes:
    """GetAuthorizationToken's answer with a password of our choice."""
    token = base64.b64encode(f"AWS:{password}".encode()).decode()
    data = {"authorizationToken": token, "expiresAt": time.time() + life_seconds}
    return json.dumps({"authorizationData": [data]}).encode()


# The token exchange service


def test_tes_that_starts_after_the_manager_is_waited_for(
    each_harness: Harness, free_port: int
) -> None:
    harness = each_harness
    push_image(harness.device.ecr, "app/one", "1")
    uri = f"http://localhost:{free_port}{CREDENTIALS_PATH}"

    with harness.service({"images": [IMAGE], **QUICK}, AWS_CONTAINER_CREDENTIALS_FULL_URI=uri):
        seen = trouble(harness, "did not answer")
        assert harness.ipc.states == []
        with listening(free_port, harness.core.tes.port):
            harness.wait_for_image(IMAGE, "READY")
            running(harness)

    assert seen["error"]["code"] == "CREDENTIAL_ENDPOINT_SERVER_ERROR"
    assert "refused" in seen["error"]["message"]
    assert seen["error"]["retryable"] is True
    assert seen["retryAt"] > seen["timestamp"]


def test_a_stale_tes_address_is_named_when_time_runs_out(harness: Harness, free_port: int) -> None:
    uri = f"http://localhost:{free_port}{CREDENTIALS_PATH}"

    done = harness.run("pull", "--timeout", "2", IMAGE, AWS_CONTAINER_CREDENTIALS_FULL_URI=uri)

    assert done.code == 4
    assert "CREDENTIAL_ENDPOINT_SERVER_ERROR" in done.err
    assert "Connection refused" in done.err


TES_TROUBLES = [
    (TesFault.status(403, "TES responded with expired"), "HTTP 403", "AUTH_FAILURE"),
    (TesFault.status(500, "Failed to get connection"), "HTTP 500", "SERVER_ERROR"),
    (TesFault.status(504), "HTTP 504", "SERVER_ERROR"),
    (TesFault.null_body(), "answered null", "SERVER_ERROR"),
    (TesFault.garbage(), "not JSON", "SERVER_ERROR"),
    (TesFault.closed(), "closed connection without response", "SERVER_ERROR"),
]


def test_each_trouble_of_tes_is_told_in_its_own_words_and_tried_again(
    each_harness: Harness,
) -> None:
    harness = each_harness
    push_image(harness.device.ecr, "app/one", "1")
    harness.core.tes.fault = TES_TROUBLES[0][0]

    with harness.service({"images": [IMAGE], **QUICK}):
        for fault, words, code in TES_TROUBLES:
            harness.core.tes.fault = fault
            seen = trouble(harness, words)
            assert seen["error"]["code"] == f"CREDENTIAL_ENDPOINT_{code}"
            assert seen["error"]["retryable"] is True
            assert seen["error"]["hint"]
        assert harness.ipc.states == []
        harness.core.tes.fault = None
        assert harness.wait_for_image(IMAGE, "READY")["error"] is None
        running(harness)


def test_a_slow_tes_is_no_trouble(harness: Harness) -> None:
    """The Java nucleus lets a caller wait up to 30 s; botocore alone would give up after 2 s."""
    push_image(harness.device.ecr, "app/one", "1")
    harness.core.tes.fault = TesFault.slow(2.5)

    with harness.service({"images": [IMAGE]}):
        assert harness.wait_for_image(IMAGE, "READY")["attempt"] == 1

    assert len(harness.core.tes.requests) == 1


def test_an_svcuid_that_tes_does_not_know_is_told_as_refused(each_harness: Harness) -> None:
    harness = each_harness
    push_image(harness.device.ecr, "app/one", "1")
    tokens, harness.core.tes.tokens = harness.core.tes.tokens, set()

    with harness.service({"images": [IMAGE], **QUICK}):
        seen = trouble(harness, "refused this component")
        harness.core.tes.tokens = tokens
        harness.wait_for_image(IMAGE, "READY")

    assert seen["error"]["code"] == "CREDENTIAL_ENDPOINT_AUTH_FAILURE"
    assert "role alias" in seen["error"]["hint"]


# AWS


def test_a_denied_token_fails_at_once_and_a_restart_after_the_mend_brings_the_image(
    harness: Harness,
) -> None:
    push_image(harness.device.ecr, "app/one", "1")
    push_image(harness.device.public, "library/tool", "1.0")
    harness.device.aws.fail("GetAuthorizationToken", 400, "AccessDeniedException", times=math.inf)
    startup = {"onFailure": "continue"}

    with harness.service({"images": [IMAGE, "docker:tool:1.0"], "startup": startup}) as process:
        failed = harness.wait_for_image(IMAGE, "FAILED")
        harness.wait_for_image("docker:tool:1.0", "READY")
        running(harness)
        assert process.running
    assert len(harness.device.aws.calls("GetAuthorizationToken")) == 1
    harness.device.aws.reset()
    with harness.service():
        harness.wait_for_image(IMAGE, "READY")

    assert failed["attempt"] == 1
    assert failed["retryAt"] is None
    assert failed["error"]["code"] == "GET_ECR_CREDENTIAL_ERROR"
    assert failed["error"]["retryable"] is False
    assert "AccessDeniedException" in failed["error"]["message"]
    assert "ecr:GetAuthorizationToken" in failed["error"]["hint"]


@pytest.mark.parametrize(
    ("status", "aws_code", "code", "hint"),
    [
        (400, "ThrottlingException", "THROTTLING_ERROR", "AWS limits the rate"),
        (503, "ServiceUnavailable", "GET_ECR_CREDENTIAL_ERROR", "ECR has trouble of its own"),
        (400, "ExpiredTokenException", "GET_ECR_CREDENTIAL_ERROR", "clock"),
    ],
)
def test_what_aws_gets_over_is_tried_again(
    harness: Harness, status: int, aws_code: str, code: str, hint: str
) -> None:
    push_image(harness.device.ecr, "app/one", "1")
    harness.device.aws.fail("GetAuthorizationToken", status, aws_code, times=2)

    with harness.service({"images": [IMAGE], **QUICK}):
        seen = trouble(harness, aws_code)
        assert harness.wait_for_image(IMAGE, "READY")["attempt"] == 3

    assert seen["error"]["code"] == code
    assert seen["error"]["retryable"] is True
    assert hint in seen["error"]["hint"]
    assert len(harness.device.aws.calls("GetAuthorizationToken")) == 3


def test_a_captive_portal_in_the_place_of_ecr_is_tried_again(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1")
    page = Fault(
        "GetAuthorizationToken",
        200,
        b"<html><body>Please accept our terms</body></html>",
        {"Content-Type": "text/html"},
        times=math.inf,
    )
    harness.device.aws.inject(page)

    with harness.service({"images": [IMAGE], **QUICK}):
        seen = harness.wait_for_image(IMAGE, "RETRYING")
        harness.device.aws.reset()
        harness.wait_for_image(IMAGE, "READY")

    assert seen["error"]["code"] == "GET_ECR_CREDENTIAL_ERROR"
    assert seen["error"]["retryable"] is True


def test_an_endpoint_of_aws_that_cannot_be_reached_is_waited_for(
    harness: Harness, free_port: int
) -> None:
    push_image(harness.device.ecr, "app/one", "1")
    push_image(harness.device.public, "library/tool", "1.0")
    configuration = {"images": [IMAGE, "docker:tool:1.0"], **QUICK}

    with harness.service(configuration, AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port}"):
        seen = trouble(harness, "ECR in us-east-1 cannot be reached")
        harness.wait_for_image("docker:tool:1.0", "READY")
        with listening(free_port, 4566):
            harness.wait_for_image(IMAGE, "READY")
            running(harness)

    assert seen["error"]["code"] == "NETWORK_ERROR"
    assert "VPC endpoint" in seen["error"]["hint"]


def test_a_token_that_expires_in_the_middle_of_a_queue_is_replaced_without_a_failure(
    harness: Harness,
) -> None:
    """And the new one is asked for with the keys that TES gives out by then."""
    first, second = f"docker:{ECR_HOST}/app/first:1", f"docker:{ECR_HOST}/app/second:1"
    push_image(harness.device.ecr, "app/first", "1", layers=large_image("first"))
    push_image(harness.device.ecr, "app/second", "1", layers=[random_layer("second", 100_000)])
    old_keys = harness.core.tes.credentials.access_key_id

    with harness.service({"images": [first]}):
        token_fetched(harness)
        new_keys = harness.core.tes.rotate().access_key_id
        harness.wait_for_image(first, "READY")
        harness.device.ecr.credentials = Credentials("AWS", "the-next-token")
        harness.device.aws.inject(
            Fault("GetAuthorizationToken", 200, token_answer("the-next-token"), times=math.inf)
        )
        harness.ipc.update_configuration(MANAGER, {"images": [first, second]})
        harness.wait_for_image(second, "READY")

    calls = harness.device.aws.calls("GetAuthorizationToken")
    assert [call.access_key for call in calls] == [old_keys, new_keys]
    assert states(harness, first) == ["QUEUED", "PULLING", "READY"]
    assert states(harness, second) == ["QUEUED", "PULLING", "READY"]
