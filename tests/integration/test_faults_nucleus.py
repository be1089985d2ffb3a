"""The nucleus in trouble: the manager survives, says its state again, and does not spin."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import IMAGE_TOPIC, MANAGER, STATUS_TOPIC, Harness
from tests.sandbox.core import Core
from tests.sandbox.device import Device
from tests.sandbox.images import large_image, push_image
from tests.sandbox.ipc import Call, ConnectionEvent, Dialect, PublishedMessage, StateReport
from tests.sandbox.processes import Process

pytestmark = pytest.mark.timeout(180)

IMAGE = "docker:tool:1.0"
MOST_OF_A_CORE = 0.3
"""Idling takes a hundredth of this; a loop without a wait takes three times as much."""

_IMPATIENT = """
import sys
import dockermgr.ipc, dockermgr.service
dockermgr.ipc.CALL_TIMEOUT_SECONDS = 1.0
dockermgr.ipc.STATE_AGAIN_SECONDS = 0.3
dockermgr.service.READ_AGAIN_SECONDS = 0.3
from dockermgr.cli import main
sys.exit(main())
"""


@pytest.fixture
def lite_harness(fresh_device: Device) -> Iterator[Harness]:
    """On the Lite nucleus, which has the trouble."""
    with Core(fresh_device, Dialect.LITE) as core:
        yield Harness(core)


def running(harness: Harness, count: int = 1) -> None:
    harness.ipc.wait_for(StateReport, lambda report: report.state == "RUNNING", count=count)


def calls(harness: Harness, operation: str, error: str, count: int = 1) -> None:
    """Returns when the nucleus has answered an operation with that error so many times."""
    harness.ipc.wait_for(
        Call, lambda call: (call.operation, call.error) == (operation, error), count=count
    )


def summary_is_ready(harness: Harness, count: int = 1) -> None:
    harness.ipc.wait_for(
        PublishedMessage,
        lambda message: message.topic == STATUS_TOPIC and message.json()["worst"] == "READY",
        count=count,
    )


def cpu_seconds(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share_of_a_core(process: Process, seconds: float = 1.0) -> float:
    """How busy the process is in the coming seconds."""
    began, used = time.monotonic(), cpu_seconds(process)
    time.sleep(seconds)
    return (cpu_seconds(process) - used) / (time.monotonic() - began)


@contextlib.contextmanager
def impatient_service(harness: Harness, configuration: dict[str, Any]) -> Iterator[Process]:
    """The service with shorter limits for the nucleus's answers: 1 s in place of 10 s."""
    harness.ipc.update_configuration(MANAGER, configuration)
    process = harness.process("serve")
    process.arguments = [sys.executable, "-c", _IMPATIENT, "serve"]
    process.start()
    try:
        yield process
    finally:
        process.stop()


# The connection


def test_a_missing_socket_at_start_is_waited_for_quietly(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    harness.ipc.stop()

    with harness.service({"images": [IMAGE]}) as process:
        process.wait_ready(lambda: "no IPC connection" in process.log_text())
        busy = share_of_a_core(process)
        said = process.log_text().count("no IPC connection")
        harness.ipc.start()
        running(harness)
        summary_is_ready(harness)

    assert busy < MOST_OF_A_CORE
    assert said == 1


def test_refused_connections_are_waited_out_quietly(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")

    with harness.service({"images": [IMAGE]}) as process:
        running(harness)
        summary_is_ready(harness)
        harness.ipc.refuse_connections()
        harness.ipc.drop_connections()
        harness.ipc.wait_for(ConnectionEvent, lambda event: event.event == "refused")
        busy = share_of_a_core(process)
        harness.ipc.heal()
        running(harness, count=2)
        summary_is_ready(harness, count=2)
        assert process.running

    assert busy < MOST_OF_A_CORE


def test_connections_that_drop_again_and_again_cost_neither_the_pull_nor_the_core(
    each_harness: Harness,
) -> None:
    harness = each_harness
    layers = large_image(f"drops {harness.core.dialect.value}")  # the engine remembers manifests
    push_image(harness.device.public, "library/tool", "1.0", layers=layers)

    with harness.service({"images": [IMAGE]}) as process:
        harness.wait_for_image(IMAGE, "PULLING")
        began, used = time.monotonic(), cpu_seconds(process)
        while time.monotonic() < began + 2.5:
            harness.ipc.drop_connections()
            time.sleep(0.05)
        busy = (cpu_seconds(process) - used) / (time.monotonic() - began)
        # Counted before the last drop: the service is quick to say it again.
        before = len(harness.ipc.states)
        harness.ipc.drop_connections()
        running(harness, count=before + 1)
        harness.wait_for_image(IMAGE, "READY")
        summary_is_ready(harness)

    assert busy < 3 * MOST_OF_A_CORE  # the pull's own events are among it
    manifests = [r for r in harness.device.public.requests() if r.is_manifest]
    assert len(manifests) == 1
    attempts = {m["attempt"] for m in harness.messages(IMAGE_TOPIC) if m["state"] != "QUEUED"}
    assert attempts == {1}


def test_connections_that_end_right_after_the_handshake_are_made_again(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")

    with harness.service({"images": [IMAGE]}):
        for number in range(1, 6):
            harness.ipc.wait_for(
                ConnectionEvent, lambda event: event.event == "connected", count=number
            )
            harness.ipc.drop_connections()
        running(harness)
        harness.wait_for_image(IMAGE, "READY")


def test_a_wrong_svcuid_is_told_in_the_log_and_tried_again_slowly(each_harness: Harness) -> None:
    harness = each_harness

    with harness.service({"images": []}, SVCUID="0123456789ABCDEF") as process:
        process.wait_ready(lambda: "no IPC connection" in process.log_text())
        busy = share_of_a_core(process)
        assert process.running
        log = process.log_text()

    assert busy < MOST_OF_A_CORE
    assert log.count("no IPC connection") == 1
    assert "0123456789ABCDEF" not in log
    refused = [r for r in harness.ipc.records if isinstance(r, ConnectionEvent)]
    assert {event.event for event in refused} == {"refused"}
    assert harness.ipc.states == []


# Errors


def test_messages_are_allowed_again_without_a_restart(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    harness.ipc.fail_operation("PublishToTopic", "UnauthorizedError")

    with harness.service({"images": [IMAGE], "status": {"heartbeatSeconds": 1}}) as process:
        running(harness)
        calls(harness, "PublishToTopic", "UnauthorizedError", count=4)
        log = process.log_text()
        harness.ipc.heal()
        summary_is_ready(harness)

    assert "allow publishing on dockermgr/status/image in the component's accessControl" in log
    assert log.count("did not take dockermgr/status/image") == 1


@pytest.mark.parametrize("operation", ["SubscribeToTopic", "PublishToTopic"])
def test_an_operation_that_the_nucleus_lacks_is_done_without(
    each_harness: Harness, operation: str
) -> None:
    harness = each_harness
    push_image(harness.device.public, "library/tool", "1.0")
    harness.ipc.fail_operation(operation, "ServiceError")

    with harness.service({"images": [IMAGE]}) as process:
        running(harness)
        calls(harness, operation, "ServiceError")
        harness.ipc.drop_connections()
        running(harness, count=2)
        process.wait_ready(lambda: "ServiceError" in process.log_text())
        log = process.log_text()

    assert log.count("ServiceError") <= 2  # one warning for each topic
    assert len(log.splitlines()) < 30


def test_a_configuration_that_once_cannot_be_read_is_read_again(each_harness: Harness) -> None:
    harness = each_harness
    push_image(harness.device.public, "library/tool", "1.0")
    harness.ipc.fail_operation("GetConfiguration", "ServiceError", times=1)

    with harness.service({"images": [IMAGE]}):
        harness.wait_for_image(IMAGE, "READY")
        running(harness)

    assert harness.ipc.states == [(MANAGER, "RUNNING")]


def test_a_configuration_service_that_is_away_at_boot_costs_nobody_the_manager(
    lite_harness: Harness,
) -> None:
    """Lite answers ServiceError while its own ggconfigd is not there yet."""
    harness = lite_harness
    push_image(harness.device.public, "library/tool", "1.0")
    with harness.service({"images": [IMAGE]}):
        running(harness)

    harness.ipc.fail_operation("GetConfiguration", "ServiceError", times=20)
    with impatient_service(harness, {}) as process:
        calls(harness, "GetConfiguration", "ServiceError", count=20)
        running(harness, count=2)
        harness.wait_for_image(IMAGE, "READY", count=2)
        assert process.running

    assert "ERRORED" not in [state for _, state in harness.ipc.states]


def test_a_dependent_whose_images_cannot_be_read_spoils_nobody_elses(
    lite_harness: Harness,
) -> None:
    """A list of more than 10,000 bytes is a ServiceError there, today and tomorrow."""
    harness = lite_harness
    push_image(harness.device.public, "library/tool", "1.0")
    many = [f"docker:tool:{'long' * 20}-{number}" for number in range(200)]
    harness.core.add_component("com.example.Many", configuration={"dockerImages": many})

    configuration = {"images": [IMAGE], "components": ["com.example.Many"]}
    with impatient_service(harness, configuration) as process:
        harness.wait_for_image(IMAGE, "READY")
        running(harness)
        assert process.running
    told = harness.messages(STATUS_TOPIC)[-1]["configurationProblems"]
    assert told[0].startswith("com.example.Many:dockerImages: the nucleus cannot hand this value")


# Silence


@pytest.mark.parametrize("operation", ["UpdateState", "GetConfiguration", "PublishToTopic"])
def test_an_operation_that_is_not_answered_is_asked_again(
    each_harness: Harness, operation: str
) -> None:
    harness = each_harness
    push_image(harness.device.public, "library/tool", "1.0")
    harness.ipc.mute(operation)

    with impatient_service(harness, {"images": [IMAGE]}) as process:
        calls(harness, operation, "muted", count=2)
        busy = share_of_a_core(process)
        harness.ipc.heal()
        running(harness)
        summary_is_ready(harness)
        assert process.running

    assert busy < MOST_OF_A_CORE


def test_a_nucleus_that_answers_nothing_at_all_is_connected_to_again(
    lite_harness: Harness,
) -> None:
    harness = lite_harness
    push_image(harness.device.public, "library/tool", "1.0")

    with impatient_service(harness, {"images": [IMAGE]}) as process:
        running(harness)
        summary_is_ready(harness)
        for operation in ("UpdateState", "GetConfiguration", "PublishToTopic", "SubscribeToTopic"):
            harness.ipc.mute(operation)
        push_image(harness.device.public, "library/other", "1.0")
        for number in range(4):  # each change gives it something to say
            harness.ipc.update_configuration(MANAGER, {"images": [IMAGE, f"docker:other:{number}"]})
            harness.ipc.publish("dockermgr/requests/status", {})
        harness.ipc.wait_for(
            ConnectionEvent, lambda event: event.event == "closed", timeout_seconds=60
        )
        busy = share_of_a_core(process)
        harness.ipc.update_configuration(MANAGER, {"images": [IMAGE, "docker:other:1.0"]})
        harness.ipc.heal()
        running(harness, count=2)
        harness.wait_for_image("docker:other:1.0", "READY")

    assert busy < MOST_OF_A_CORE
