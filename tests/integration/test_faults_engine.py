"""The engine in trouble: missing, forbidden, killed, hung, full."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import IMAGE_TOPIC, MANAGER, STATUS_TOPIC, Harness
from tests.sandbox.device import ECR_HOST
from tests.sandbox.engine import Engine
from tests.sandbox.images import Layer, large_image, push_image, random_layer
from tests.sandbox.ipc import PublishedMessage, StateReport
from tests.sandbox.processes import Process, wait_until

pytestmark = pytest.mark.timeout(180)

IMAGE = "docker:large:1"
QUICK = {"retry": {"initialSeconds": 0.1, "maxSeconds": 0.5}}
NOBODY = "65534"


def running(harness: Harness) -> None:
    harness.ipc.wait_for(StateReport, lambda report: report.state == "RUNNING")


def trouble(harness: Harness, code: str, state: str = "RETRYING") -> dict[str, Any]:
    """The first message in which an image is in that state because of an error of that code."""

    def fits(message: PublishedMessage) -> bool:
        if message.topic != IMAGE_TOPIC:
            return False
        content = message.json()
        return content["state"] == state and (content["error"] or {}).get("code") == code

    return harness.ipc.wait_for(PublishedMessage, fits, timeout_seconds=90).json()


def downloading(harness: Harness) -> None:
    def fits(message: PublishedMessage) -> bool:
        content = message.json() if message.topic == IMAGE_TOPIC else {}
        return content.get("image") == IMAGE and (content.get("progress") or {}).get("stage") in {
            "downloading",
            "extracting",
        }

    harness.ipc.wait_for(PublishedMessage, fits)


def engine_shown(harness: Harness, available: bool) -> dict[str, Any]:
    """The first summary in which the engine is there, or is not."""
    summary = harness.ipc.wait_for(
        PublishedMessage,
        lambda message: (
            message.topic == STATUS_TOPIC and message.json()["engine"]["available"] is available
        ),
    ).json()
    return dict(summary["engine"])


def threads(process: Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"^Threads:\s+(\d+)$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


def heavy_image() -> list[Layer]:
    """Takes an engine on this kind of machine a second or more."""
    return large_image("heavy", layers=8, layer_bytes=20_000_000)


def push_slow_image(harness: Harness) -> None:
    """`IMAGE`, which takes seconds to download on any machine."""
    layers = large_image("slow", layers=4, layer_bytes=10_000_000)
    push_image(harness.device.public, "library/large", "1", layers=layers)
    harness.device.put_between(harness.device.public).bytes_per_second = 10_000_000


# Missing and forbidden


def test_an_engine_that_is_not_installed_is_named_and_waited_for(harness: Harness) -> None:
    push_image(harness.device.public, "library/large", "1")
    host = "unix:///run/later.sock"

    with harness.service({"images": [IMAGE], **QUICK}, DOCKER_HOST=host):
        seen = trouble(harness, "DOCKER_SERVICE_UNAVAILABLE")
        shown = engine_shown(harness, available=False)
        assert harness.ipc.states == []
        config = {"bridge": "none", "iptables": False}
        harness.device.start_engine("later", config=config).wait_ready()
        harness.wait_for_image(IMAGE, "READY")
        running(harness)
        engine_shown(harness, available=True)

    for error in (seen["error"], shown["error"]):
        assert error["message"] == "there is no Docker Engine at its socket"
        assert error["hint"] == "install and start Docker"
        assert error["retryable"] is True


def test_no_permission_is_told_with_user_and_command_and_mended_without_a_restart(
    harness: Harness,
) -> None:
    push_image(harness.device.public, "library/large", "1")
    harness.home.chmod(0o777)
    harness.ipc.update_configuration(MANAGER, {"images": [IMAGE], **QUICK})
    process = harness.process("serve")
    drop = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]
    process.arguments = [*drop, *process.arguments]
    process.start()
    try:
        seen = trouble(harness, "USER_NOT_AUTHORIZED_FOR_DOCKER")
        harness.device.engine.socket.chmod(0o666)
        harness.wait_for_image(IMAGE, "READY")
        running(harness)
    finally:
        process.stop()
        harness.device.engine.socket.chmod(0o660)

    error = seen["error"]
    assert error["message"].startswith("user nobody (groups: ")
    assert "sudo usermod -aG docker nobody" in error["hint"]
    assert "restart the Greengrass nucleus" in error["hint"]
    assert error["retryable"] is True


# Gone


def test_an_engine_killed_in_the_middle_of_a_pull_is_waited_for(harness: Harness) -> None:
    push_slow_image(harness)

    with harness.service({"images": [IMAGE], **QUICK}) as process:
        downloading(harness)
        harness.device.engine.kill()
        seen = harness.wait_for_image(IMAGE, "RETRYING")
        engine_shown(harness, available=False)
        harness.device.engine.start()
        harness.device.engine.wait_ready()
        ready = harness.wait_for_image(IMAGE, "READY")
        running(harness)
        assert process.running

    assert seen["error"]["code"] == "DOCKER_SERVICE_UNAVAILABLE"
    assert seen["error"]["retryable"] is True
    assert seen["error"]["hint"]
    assert ready["attempt"] > 1
    states = [m["state"] for m in harness.messages(IMAGE_TOPIC)]
    assert "FAILED" not in states


def test_an_engine_that_restarts_again_and_again_is_outlived(harness: Harness) -> None:
    """Whatever it is being asked at that instant: listing, login, pull, inspection."""
    push_image(harness.device.ecr, "library/large", "1", layers=heavy_image())
    image = f"docker:{ECR_HOST}/library/large:1"

    with harness.service({"images": [image], **QUICK}) as process:
        for pause in (0.0, 0.4, 0.8):
            time.sleep(pause)
            harness.device.engine.kill()
            harness.device.engine.start()
            harness.device.engine.wait_ready()
        harness.wait_for_image(image, "READY")
        running(harness)
        assert process.running

    codes = {m["error"]["code"] for m in harness.messages(IMAGE_TOPIC) if m["error"]}
    assert codes <= {"DOCKER_SERVICE_UNAVAILABLE", "NETWORK_ERROR"}


def test_an_engine_that_stops_in_order_in_the_middle_of_a_pull_is_waited_for(
    harness: Harness,
) -> None:
    push_slow_image(harness)

    with harness.service({"images": [IMAGE], **QUICK}):
        downloading(harness)
        harness.device.engine.stop()
        seen = harness.wait_for_image(IMAGE, "RETRYING")
        harness.device.engine.start()
        harness.device.engine.wait_ready()
        harness.wait_for_image(IMAGE, "READY")

    assert seen["error"]["retryable"] is True
    assert "FAILED" not in [m["state"] for m in harness.messages(IMAGE_TOPIC)]


# Hung


def test_an_engine_that_hangs_in_a_pull_is_stalled_and_leaves_no_thread(harness: Harness) -> None:
    push_image(harness.device.public, "library/small", "1")
    push_slow_image(harness)
    # Longer than a busy machine's engine is silent while it extracts a layer.
    timeouts = {"firstByteSeconds": 5, "stallSeconds": 5, "extractStallSeconds": 5}

    with harness.service({"images": ["docker:small:1"], "timeouts": timeouts, **QUICK}) as process:
        running(harness)
        wait_until(lambda: threads(process) < 20, "the first pull's threads to end")
        idle = settled_threads(process)
        harness.ipc.update_configuration(MANAGER, {"images": ["docker:small:1", IMAGE]})
        downloading(harness)
        harness.device.engine.pause()
        seen = trouble(harness, "PULL_STALLED")
        harness.device.engine.resume()
        ready = harness.wait_for_image(IMAGE, "READY")
        wait_until(lambda: threads(process) <= idle, "the stuck pull's thread to end")

    assert seen["error"]["retryable"] is True
    assert "waited 5 s for" in seen["error"]["message"]
    assert "larger timeouts" in seen["error"]["hint"]
    assert ready["attempt"] > 1


def settled_threads(process: Process) -> int:
    """How many there are once their number stays the same for a second."""
    while True:
        seen = threads(process)
        time.sleep(1)
        if threads(process) == seen:
            return seen


def test_an_engine_that_hangs_does_not_hang_the_service(harness: Harness) -> None:
    push_slow_image(harness)

    with harness.service({"images": [IMAGE]}) as process:
        downloading(harness)
        harness.device.engine.pause()
        said = len(harness.messages(STATUS_TOPIC))
        harness.ipc.publish("dockermgr/requests/status", {})
        harness.ipc.wait_for(
            PublishedMessage, lambda message: message.topic == STATUS_TOPIC, count=said + 1
        )
        harness.ipc.update_configuration(MANAGER, {"images": []})
        harness.ipc.wait_for(
            PublishedMessage,
            lambda message: message.topic == STATUS_TOPIC and message.json()["images"] == 0,
        )
        began = time.monotonic()
        process.stop()
        # The requirement itself, not a measure of speed.
        assert time.monotonic() - began < 2
    harness.device.engine.resume()


@pytest.mark.slow
def test_an_engine_that_hangs_at_boot_is_told_and_waited_for(harness: Harness) -> None:
    push_image(harness.device.public, "library/large", "1")
    harness.device.engine.pause()

    with harness.service({"images": [IMAGE], **QUICK}):
        seen = trouble(harness, "DOCKER_SERVICE_UNAVAILABLE")
        harness.device.engine.resume()
        harness.wait_for_image(IMAGE, "READY")
        running(harness)

    assert "does not answer" in seen["error"]["message"]


# Full


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """An engine whose data has a disk of its own, and where that is."""

    engine: Engine
    folder: Path

    def resize(self, size: str) -> None:
        options = f"remount,size={size}"
        subprocess.run(["mount", "-o", options, str(self.folder)], check=True)

    def fill(self) -> Path:
        """Takes all that is free; returns the file that does."""
        file = self.folder / "filler"
        with contextlib.suppress(OSError), file.open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(1_000_000))
        return file


@pytest.fixture
def small_disk(harness: Harness, tmp_path: Path) -> Iterator[SmallDisk]:
    data = tmp_path / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(data)], check=True)
    config = {"bridge": "none", "iptables": False, "data-root": str(data)}
    with contextlib.ExitStack() as parts:
        parts.callback(subprocess.run, ["umount", "--lazy", str(data)], check=True)
        engine = harness.device.start_engine("small", config=config)
        parts.callback(engine.kill)
        engine.wait_ready()
        yield SmallDisk(engine, data)


def test_a_disk_too_small_is_told_and_the_image_is_there_once_there_is_room(
    harness: Harness, small_disk: SmallDisk
) -> None:
    layers = [random_layer(f"full-{number}", 15_000_000) for number in range(4)]
    push_image(harness.device.public, "library/large", "1", layers=layers)
    push_image(harness.device.public, "library/small", "1")
    configuration = {"images": ["docker:small:1", IMAGE], **QUICK}

    with harness.service(configuration, DOCKER_HOST=small_disk.engine.host) as process:
        seen = trouble(harness, "DISK_SPACE_CRITICAL")
        harness.wait_for_image("docker:small:1", "READY")
        small_disk.resize("600m")
        harness.wait_for_image(IMAGE, "READY")
        running(harness)
        assert process.running

    assert "docker system df" in seen["error"]["hint"]
    assert seen["error"]["retryable"] is True


def test_a_disk_that_fills_up_during_a_pull_is_told_in_the_engines_words(
    harness: Harness, small_disk: SmallDisk
) -> None:
    push_image(harness.device.public, "library/large", "1", layers=heavy_image())
    small_disk.resize("800m")
    proxy = harness.device.put_between(harness.device.public)
    proxy.bytes_per_second = 10_000_000

    with harness.service({"images": [IMAGE], **QUICK}, DOCKER_HOST=small_disk.engine.host):
        proxy.wait_for(bytes_down=5_000_000)
        filler = small_disk.fill()
        proxy.mend()
        seen = trouble(harness, "DISK_SPACE_CRITICAL")
        filler.unlink()
        harness.wait_for_image(IMAGE, "READY")
        running(harness)

    assert "no space left on device" in seen["error"]["message"]
    assert "docker system df" in seen["error"]["hint"]
    assert seen["error"]["retryable"] is True
