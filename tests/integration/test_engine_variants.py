"""What engines with containerd's store do otherwise, and the product must not stumble over."""

from __future__ import annotations

import pytest

from tests.integration.harness import Harness
from tests.sandbox.faults.link import Break, Kind
from tests.sandbox.images import Platform, push_image, push_multi_platform, random_layer

pytestmark = pytest.mark.timeout(120)


def test_a_download_that_stands_still_is_noticed(harness: Harness) -> None:
    push_image(harness.device.public, "library/large", "1", layers=[random_layer("s", 8_000_000)])
    proxy = harness.device.put_between(harness.device.public)
    proxy.bytes_per_second = 4_000_000
    proxy.inject(Break(Kind.STALL, after_bytes=5_000_000))

    with harness.service(
        {"images": ["docker:large:1"], "timeouts": {"stallSeconds": 3, "extractStallSeconds": 6}}
    ):
        stalled = harness.wait_for_image("docker:large:1", "RETRYING")
        assert stalled["error"]["code"] == "PULL_STALLED"
        proxy.mend()
        harness.wait_for_image("docker:large:1", "READY")


def test_another_platform_beside_the_machines_own(harness: Harness) -> None:
    own, other = Platform(), Platform("s390x")
    push_multi_platform(harness.device.public, "library/multi", "1", platforms=[own, other])

    for _ in range(2):
        for platform in (own, other):
            done = harness.run(
                "pull", "--platform", f"linux/{platform.architecture}", "docker:multi:1"
            )
            assert done.code == 0, done.out
