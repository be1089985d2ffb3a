"""Faults between a real engine and a real registry, and what the user sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import IMAGE_TOPIC, Harness
from tests.sandbox.device import ECR_HOST
from tests.sandbox.dns import Mode
from tests.sandbox.faults import answers, certificates
from tests.sandbox.faults.https import HttpsProxy
from tests.sandbox.faults.link import Break, Kind
from tests.sandbox.faults.rules import BLOBS, MANIFESTS, Fault
from tests.sandbox.images import large_image, push_image, random_layer

pytestmark = pytest.mark.timeout(150)

IMAGE = f"docker:{ECR_HOST}/app/one:1"
QUICK: dict[str, Any] = {"retry": {"initialSeconds": 0.5, "maxSeconds": 1}}


def errors_of(harness: Harness) -> list[str]:
    """The codes that were reported, in order, each once in a row."""
    found: list[str] = []
    for message in harness.messages(IMAGE_TOPIC):
        if message["error"] is not None and found[-1:] != [message["error"]["code"]]:
            found.append(message["error"]["code"])
    return found


def pushed(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1", layers=[random_layer("one", 200_000)])


def https_between(harness: Harness, fault: Fault) -> HttpsProxy:
    pushed(harness)
    proxy = harness.device.put_https_between(harness.device.ecr)
    proxy.inject(fault)
    return proxy


def test_a_connection_that_is_reset_in_the_middle_of_a_layer(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1", layers=large_image(layers=2))
    proxy = harness.device.put_between(harness.device.ecr)
    proxy.inject(Break(Kind.RESET, after_bytes=2_000_000, times=3))

    with harness.service({"images": [IMAGE], **QUICK}):
        harness.wait_for_image(IMAGE, "READY")

    assert proxy.struck >= 1
    assert set(errors_of(harness)) <= {"NETWORK_ERROR"}


def test_a_layer_that_stalls_is_cut_off_and_pulled_again(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1", layers=large_image(layers=1))
    proxy = harness.device.put_between(harness.device.ecr)
    proxy.inject(Break(Kind.STALL, after_bytes=3_000_000, times=1))
    timeouts = {"stallSeconds": 3, "firstByteSeconds": 10}

    with harness.service({"images": [IMAGE], "timeouts": timeouts, **QUICK}):
        stalled = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.mend()
        harness.wait_for_image(IMAGE, "READY")

    assert stalled["error"]["code"] == "PULL_STALLED"
    assert "waited 3 s for more while downloading" in stalled["error"]["message"]


def test_a_slow_trickle_is_no_stall(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1", layers=[random_layer("slow", 1_500_000)])
    proxy = harness.device.put_between(harness.device.ecr)
    proxy.bytes_per_second = 200_000

    with harness.service({"images": [IMAGE], "timeouts": {"stallSeconds": 4}, **QUICK}):
        harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == []


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "DOCKER_PULL_ERROR"), (502, "DOCKER_PULL_ERROR"), (503, "DOCKER_PULL_ERROR")],
)
def test_a_registry_with_trouble_of_its_own(harness: Harness, status: int, code: str) -> None:
    https_between(harness, Fault(path=MANIFESTS, answer=answers.server_error(status), times=4))

    with harness.service({"images": [IMAGE], **QUICK}):
        harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == [code]


def test_a_rate_limit_is_waited_out(harness: Harness) -> None:
    https_between(harness, Fault(path=MANIFESTS, answer=answers.too_many_requests(), times=2))

    with harness.service({"images": [IMAGE], **QUICK}):
        limited = harness.wait_for_image(IMAGE, "RETRYING")
        harness.wait_for_image(IMAGE, "READY")

    assert limited["error"]["code"] == "THROTTLING_ERROR"


def test_a_blob_that_does_not_match_its_digest(harness: Harness) -> None:
    https_between(harness, Fault(path=BLOBS, method="GET", corrupt=True, times=2))

    with harness.service({"images": [IMAGE], **QUICK}):
        harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == ["IMAGE_DIGEST_MISMATCH"]


def test_a_captive_portal_in_the_registrys_place(harness: Harness) -> None:
    https_between(harness, Fault(path=MANIFESTS, answer=answers.captive_portal(), times=2))

    with harness.service({"images": [IMAGE], **QUICK}):
        retrying = harness.wait_for_image(IMAGE, "RETRYING")
        harness.wait_for_image(IMAGE, "READY")

    assert retrying["error"]["code"] == "NETWORK_ERROR"


def test_a_token_that_expired_is_replaced_without_a_failure(harness: Harness) -> None:
    https_between(harness, Fault(path=MANIFESTS, answer=answers.token_expired(), times=2))

    with harness.service({"images": [IMAGE], **QUICK}):
        harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == []
    assert len(harness.device.aws.calls("GetAuthorizationToken")) == 2


def test_a_role_that_may_not_read_the_image_is_told_the_action(harness: Harness) -> None:
    https_between(harness, Fault(path=MANIFESTS, answer=answers.denied_by_iam("app/one"), times=99))

    with harness.service({"images": [{"uri": IMAGE, "required": False}], **QUICK}):
        failed = harness.wait_for_image(IMAGE, "FAILED")

    assert failed["error"]["code"] == "DOCKER_PULL_ERROR"
    assert "ecr:BatchGetImage" in failed["error"]["message"]
    assert failed["attempt"] == 1


def test_a_certificate_that_nobody_trusts(harness: Harness, tmp_path: Path) -> None:
    pushed(harness)
    proxy = harness.device.put_https_between(harness.device.ecr)
    good = proxy.certificate
    proxy.certificate = certificates.of_unknown_authority(tmp_path, [ECR_HOST])

    with harness.service({"images": [IMAGE], **QUICK}):
        retrying = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.certificate = good
        harness.wait_for_image(IMAGE, "READY")

    assert retrying["error"]["code"] == "NETWORK_ERROR"
    assert "certs.d" in retrying["error"]["hint"]


def test_a_name_that_stopped_resolving_is_the_network(harness: Harness) -> None:
    pushed(harness)
    push_image(harness.device.ecr, "app/two", "1", layers=[random_layer("two", 1000)])
    second = f"docker:{ECR_HOST}/app/two:1"
    assert harness.run("pull", IMAGE).code == 0
    harness.device.dns.mode = Mode.NXDOMAIN

    with harness.service({"images": [second], "startup": {"waitSeconds": 0}, **QUICK}):
        retrying = harness.wait_for_image(second, "RETRYING")
        harness.device.dns.mode = Mode.NORMAL
        harness.wait_for_image(second, "READY")

    assert retrying["error"]["code"] == "NETWORK_ERROR"
    assert "mistyped" not in retrying["error"]["hint"]


def test_a_name_that_never_resolved_is_most_likely_a_typing_error(harness: Harness) -> None:
    image = "docker:pubilc.ecr.aws/library/tool:1"

    with harness.service({"images": [image], "startup": {"waitSeconds": 0}, **QUICK}):
        retrying = harness.wait_for_image(image, "RETRYING")

    assert retrying["attempt"] == 1
    assert (
        "most likely its name is mistyped; did you mean public.ecr.aws?"
        in retrying["error"]["hint"]
    )
