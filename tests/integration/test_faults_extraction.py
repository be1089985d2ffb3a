"""Storage that is slow to unpack a layer: patience that a dead connection does not get."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.harness import Harness
from tests.integration.registry_faults import IMAGE, QUICK, errors_of, pushed
from tests.sandbox.engine import Engine
from tests.sandbox.faults.extraction import HeldExtraction

pytestmark = pytest.mark.timeout(150)

STALL_SECONDS = 2
PATIENT = {"stallSeconds": STALL_SECONDS, "extractStallSeconds": 100}
IMPATIENT = {"stallSeconds": STALL_SECONDS, "extractStallSeconds": 3 * STALL_SECONDS}


@pytest.fixture
def held(tmp_path: Path, harness: Harness) -> HeldExtraction:
    """What holds up the extractions of `slow_engine`."""
    return HeldExtraction(tmp_path / "unpigz", harness.device.variant)


@pytest.fixture
def slow_engine(harness: Harness, held: HeldExtraction) -> Engine:
    """An engine of the same kind as the device's own."""
    engine = harness.device.start_engine(
        "slow",
        config={"bridge": "none", "iptables": False},
        environment={"PATH": held.path},
    )
    engine.wait_ready()
    return engine


def test_a_slow_extraction_is_no_stall(
    harness: Harness, slow_engine: Engine, held: HeldExtraction
) -> None:
    pushed(harness)

    with harness.service(
        {"images": [IMAGE], "timeouts": PATIENT, **QUICK}, DOCKER_HOST=slow_engine.host
    ):
        held.wait_begun()
        time.sleep(3 * STALL_SECONDS)
        held.release()
        ready = harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == []
    assert ready["attempt"] == 1


def test_an_extraction_that_never_ends_is_a_stall(
    harness: Harness, slow_engine: Engine, held: HeldExtraction
) -> None:
    pushed(harness)

    with harness.service(
        {"images": [IMAGE], "timeouts": IMPATIENT, **QUICK}, DOCKER_HOST=slow_engine.host
    ):
        stalled = harness.wait_for_image(IMAGE, "RETRYING")
        held.release()
        harness.wait_for_image(IMAGE, "READY")

    assert stalled["error"]["code"] == "PULL_STALLED"
    assert f"waited {3 * STALL_SECONDS} s for more" in stalled["error"]["message"]
