"""Faults between a real engine and a real registry, and what the user sees of them."""

from __future__ import annotations

import math

import pytest

from tests.integration.harness import Harness
from tests.integration.registry_faults import IMAGE, QUICK, errors_of, https_between, pushed
from tests.sandbox.device import ECR_HOST
from tests.sandbox.dns import Mode
from tests.sandbox.engines import Variant
from tests.sandbox.faults import answers
from tests.sandbox.faults.link import Break, Kind
from tests.sandbox.faults.rules import BLOBS, MANIFESTS, Fault
from tests.sandbox.images import large_image, push_image, random_layer

pytestmark = pytest.mark.timeout(150)


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
    # Podman does not tell downloading from extracting, and so gets the longer time.
    limit = 6 if harness.device.variant is Variant.PODMAN else 3
    timeouts = {"stallSeconds": 3, "extractStallSeconds": 6, "firstByteSeconds": 10}

    with harness.service({"images": [IMAGE], "timeouts": timeouts, **QUICK}):
        stalled = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.mend()
        harness.wait_for_image(IMAGE, "READY")

    assert stalled["error"]["code"] == "PULL_STALLED"
    assert f"waited {limit} s for more while downloading" in stalled["error"]["message"]


def test_a_slow_trickle_is_no_stall(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1", layers=[random_layer("slow", 1_500_000)])
    proxy = harness.device.put_between(harness.device.ecr)
    proxy.bytes_per_second = 200_000

    with harness.service({"images": [IMAGE], "timeouts": {"stallSeconds": 4}, **QUICK}):
        harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == []


def test_a_blob_that_does_not_match_its_digest(harness: Harness) -> None:
    proxy = https_between(harness, Fault(path=BLOBS, method="GET", corrupt=True, times=math.inf))

    with harness.service({"images": [IMAGE], **QUICK}):
        retrying = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.mend()
        if "systemctl restart docker" in retrying["error"]["hint"]:
            harness.device.engine.restart()
        harness.wait_for_image(IMAGE, "READY")

    assert retrying["error"]["code"] == "IMAGE_DIGEST_MISMATCH"
    assert "a proxy in between may be altering it" in retrying["error"]["hint"]


def test_a_layer_that_is_cut_short_again_and_again(harness: Harness) -> None:
    cut = Fault(path=BLOBS, method="GET", truncate_after_bytes=0, times=math.inf)
    proxy = https_between(harness, cut)

    with harness.service({"images": [IMAGE], **QUICK}):
        retrying = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.mend()
        harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == ["NETWORK_ERROR"]
    assert "unexpected EOF" in retrying["error"]["message"]


def test_a_captive_portal_in_the_registrys_place(harness: Harness) -> None:
    portal = Fault(path=MANIFESTS, answer=answers.captive_portal(), times=math.inf)
    proxy = https_between(harness, portal)

    with harness.service({"images": [IMAGE], **QUICK}):
        retrying = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.mend()
        harness.wait_for_image(IMAGE, "READY")

    assert retrying["error"]["code"] == "NETWORK_ERROR"
    assert "captive portal" in retrying["error"]["hint"]


def test_a_token_that_expired_is_replaced_without_a_failure(harness: Harness) -> None:
    # For the old engine a HEAD that fails is no answer yet: it sends GET as well.
    asked = 2 if harness.device.variant is Variant.DOCKER else 1
    https_between(harness, Fault(path=MANIFESTS, answer=answers.token_expired(), times=asked))

    with harness.service({"images": [IMAGE], **QUICK}):
        harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == []
    assert len(harness.device.aws.calls("GetAuthorizationToken")) == 2


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
