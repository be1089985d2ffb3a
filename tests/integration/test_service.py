"""`dockermgr serve` as a nucleus runs it: configuration, status, lifecycle, IPC troubles."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.integration.harness import (
    IMAGE_TOPIC,
    MANAGER,
    PROJECT,
    STATUS_TOPIC,
    Harness,
    manager_access_control,
)
from tests.sandbox.core import Core
from tests.sandbox.device import ECR_HOST, Device
from tests.sandbox.images import large_image, push_image, random_layer
from tests.sandbox.ipc import (
    Call,
    ConnectionEvent,
    Dialect,
    PublishedMessage,
    StateReport,
)
from tests.sandbox.nucleus.rules import as_lite_recipe_configuration

pytestmark = pytest.mark.timeout(120)

SCHEMA = json.loads((PROJECT / "docs" / "status.schema.json").read_text(encoding="utf-8"))


def running(harness: Harness, count: int = 1) -> None:
    harness.ipc.wait_for(StateReport, lambda report: report.state == "RUNNING", count=count)


def wait_for_summary(harness: Harness, **expected: object) -> dict[str, Any]:
    def fits(message: PublishedMessage) -> bool:
        content = message.json()
        return message.topic == STATUS_TOPIC and all(
            content[key] == value for key, value in expected.items()
        )

    return harness.ipc.wait_for(PublishedMessage, fits).json()


def test_reports_running_when_its_images_are_there(each_harness: Harness) -> None:
    harness = each_harness
    push_image(harness.device.ecr, "app/one", "1", layers=large_image())
    push_image(harness.device.public, "library/tool", "1.0")
    private, public = f"docker:{ECR_HOST}/app/one:1", "docker:tool:1.0"

    with harness.service({"images": [private, public]}):
        running(harness)
        at_running = harness.ipc.records
        ready = {m["image"] for m in harness.messages(IMAGE_TOPIC) if m["state"] == "READY"}
        wait_for_summary(harness, worst="READY", images=2)

    assert harness.device.engine.tags() == {f"{ECR_HOST}/app/one:1", "tool:1.0"}
    assert ready == {private, public}
    assert isinstance(at_running[-1], StateReport | PublishedMessage | Call)
    states = [m["state"] for m in harness.messages(IMAGE_TOPIC) if m["image"] == private]
    assert states[0] == "QUEUED"
    assert "PULLING" in states
    assert states[-1] == "READY"
    assert harness.ipc.states == [(MANAGER, "RUNNING")]


def test_every_message_follows_the_schema_and_stays_small(each_harness: Harness) -> None:
    harness = each_harness
    push_image(harness.device.public, "library/tool", "1.0")
    uris = ["docker:tool:1.0", "docker:tool:absent", "docker:" + "Ä" * 900, "docker:é.example/x"]
    configuration = {
        "images": [{"uri": uri, "required": "false"} for uri in uris],
        "unknown\u2603" * 50: 1,
        "retry": {"maxSeconds": "much"},
    }

    with harness.service(configuration):
        running(harness)
        wait_for_summary(harness, worst="FAILED")

    messages = harness.messages(STATUS_TOPIC) + harness.messages(IMAGE_TOPIC)
    assert len(messages) >= 6
    for message in messages:
        jsonschema.validate(message, SCHEMA)
        assert len(json.dumps(message)) < 8000


def test_a_wrong_uri_fails_that_image_and_not_the_others(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    images = ["docker:tool:1.0", {"uri": "docker:Not/Valid", "required": False}]

    with harness.service({"images": images}):
        running(harness)
        failed = harness.wait_for_image("docker:Not/Valid", "FAILED")
        assert harness.wait_for_image("docker:tool:1.0", "READY")["error"] is None

    assert failed["error"]["code"] == "DOCKER_ARTIFACT_URI_NOT_VALID"
    assert failed["error"]["retryable"] is False


def test_scalars_as_strings_and_numbers_mean_the_same(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    configuration = as_lite_recipe_configuration(
        {
            "images": [{"uri": "docker:tool:1.0", "required": True, "platform": None}],
            "maxConcurrentPulls": 2,
            "requireDigest": False,
            "startup": {"waitSeconds": 30.0, "onFailure": "error"},
        }
    )
    with harness.service(configuration):
        running(harness)
        summary = wait_for_summary(harness, worst="READY")

    assert summary["configurationProblems"] == []


def test_configuration_problems_are_told_with_their_path_and_the_rest_applies(
    harness: Harness,
) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    configuration = {
        "images": ["docker:tool:1.0", 7],
        "maxConcurentPulls": 5,
        "timeouts": {"stallSeconds": "long"},
    }
    with harness.service(configuration) as process:
        running(harness)
        summary = wait_for_summary(harness, worst="READY")
        log = process.log_text()

    told = "\n".join(summary["configurationProblems"])
    assert "images[1]: must be a string or a map, is 7" in told
    assert "maxConcurentPulls: is not a known key" in told
    assert "did you mean maxConcurrentPulls?" in told
    assert "timeouts.stallSeconds: must be a number" in told
    assert "COMPONENT_CONFIGURATION_NOT_VALID timeouts.stallSeconds" in log


def test_no_configuration_at_all_is_fine(each_harness: Harness) -> None:
    with each_harness.service():
        running(each_harness)
        assert wait_for_summary(each_harness, images=0)["worst"] is None


def test_running_is_reported_at_the_end_of_the_wait_with_pulls_going_on(harness: Harness) -> None:
    image = "docker:registy.example.com/app:1"
    configuration = {"images": [image], "startup": {"waitSeconds": 1}}

    with harness.service(configuration) as process:
        harness.wait_for_image(image, "RETRYING")
        running(harness)
        retried = harness.wait_for_image(image, "RETRYING", count=2)
        assert process.running

    assert retried["error"]["code"] == "NETWORK_ERROR"
    assert retried["retryAt"] > retried["timestamp"]


def test_a_first_configuration_with_a_wrong_image_is_errored(each_harness: Harness) -> None:
    harness = each_harness
    with harness.service({"images": ["docker:tool:absent"]}) as process:
        harness.ipc.wait_for(StateReport, lambda report: report.state == "ERRORED")
        assert process.wait_ended(20)
        assert process.exit_code == 3

    assert [state for _, state in harness.ipc.states] == ["ERRORED"]
    assert harness.messages(IMAGE_TOPIC)[-1]["error"]["code"] == "DOCKER_IMAGE_NOT_VALID"
    assert harness.messages(STATUS_TOPIC)[-1]["worst"] == "FAILED"


def test_a_configuration_that_once_ran_never_costs_the_manager(harness: Harness) -> None:
    pushed = push_image(harness.device.public, "library/tool", "1.0")
    with harness.service({"images": ["docker:tool:1.0"]}):
        running(harness)

    harness.device.engine.remove_images()
    harness.device.public.delete_manifest("library/tool", pushed.manifest_digest)
    with harness.service() as process:
        harness.wait_for_image("docker:tool:1.0", "FAILED")
        running(harness, count=2)
        assert process.running


def test_on_failure_continue_runs_without_the_image(harness: Harness) -> None:
    configuration = {"images": ["docker:tool:absent"], "startup": {"onFailure": "continue"}}
    with harness.service(configuration) as process:
        running(harness)
        assert process.running

    assert harness.messages(IMAGE_TOPIC)[-1]["state"] == "FAILED"
    assert harness.ipc.states == [(MANAGER, "RUNNING")]


def test_changes_are_followed_without_a_restart(each_harness: Harness) -> None:
    harness = each_harness
    for name in ("one", "two", "three"):
        push_image(harness.device.public, f"library/{name}", "1")

    with harness.service({"images": ["docker:one:1"]}) as process:
        running(harness)
        pid = process.pid
        for images in (["docker:two:1"], ["docker:two:1", "docker:three:1"]):
            harness.ipc.update_configuration(MANAGER, {"images": images})
        harness.wait_for_image("docker:two:1", "READY")
        harness.wait_for_image("docker:three:1", "READY")
        wait_for_summary(harness, images=2, worst="READY")
        assert process.running
        assert process.pid == pid

    assert [state for _, state in harness.ipc.states] == ["RUNNING"]


def test_many_changes_in_a_row_are_applied_together(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1")
    with harness.service({"images": []}) as process:
        running(harness)
        for number in range(300):
            harness.ipc.update_configuration(MANAGER, {"images": [f"docker:tool:{number}"]})
        harness.ipc.update_configuration(MANAGER, {"images": ["docker:tool:1"]})
        harness.wait_for_image("docker:tool:1", "READY")
        wait_for_summary(harness, images=1, worst="READY")
        log = process.log_text()

    assert log.count("configuration applied") < 60


def test_an_image_that_is_no_longer_wanted_is_no_longer_worked_on(harness: Harness) -> None:
    image = "docker:registy.example.com/app:1"
    with harness.service({"images": [image], "startup": {"waitSeconds": 0}}) as process:
        harness.wait_for_image(image, "RETRYING")
        harness.ipc.update_configuration(MANAGER, {"images": []})
        wait_for_summary(harness, images=0)
        said = len(harness.messages(IMAGE_TOPIC))
        time.sleep(3)
        assert len(harness.messages(IMAGE_TOPIC)) == said
        assert "no longer wanted" in process.log_text()


def test_images_of_dependents_are_read_and_followed(each_harness: Harness) -> None:
    harness = each_harness
    for name in ("one", "two"):
        push_image(harness.device.public, f"library/{name}", "1")
    harness.core.add_component("com.example.App", configuration={"dockerImages": ["docker:one:1"]})

    with harness.service({"components": ["com.example.App", "com.example.Absent"]}):
        running(harness)
        assert harness.wait_for_image("docker:one:1", "READY")["component"] == "com.example.App"
        harness.ipc.update_configuration("com.example.App", {"dockerImages": ["docker:two:1"]})
        harness.wait_for_image("docker:two:1", "READY")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_sigterm_ends_it_within_two_seconds_with_pulls_in_flight(
    harness: Harness, number: signal.Signals
) -> None:
    layers = [random_layer(f"slow-{n}", 20_000_000) for n in range(3)]
    push_image(harness.device.public, "library/large", "1", layers=layers)
    images = ["docker:large:1", "docker:registy.example.com/app:1"]

    with harness.service({"images": images}) as process:
        harness.wait_for_image("docker:large:1", "PULLING")
        began = time.monotonic()
        process.signal(number)
        assert process.wait_ended(10)
        # The requirement itself, not a measure of speed.
        assert time.monotonic() - began < 2
        assert process.exit_code == -number


def test_the_connection_is_made_again_and_the_state_said_again(each_harness: Harness) -> None:
    harness = each_harness
    push_image(harness.device.public, "library/tool", "1.0")
    with harness.service({"images": ["docker:tool:1.0"]}):
        running(harness)
        wait_for_summary(harness, worst="READY")
        harness.ipc.drop_connections()
        running(harness, count=2)
        harness.wait_for_image("docker:tool:1.0", "READY", count=2)
        push_image(harness.device.public, "library/other", "1.0")
        harness.ipc.update_configuration(MANAGER, {"images": ["docker:other:1.0"]})
        harness.wait_for_image("docker:other:1.0", "READY")


def test_a_nucleus_that_is_away_for_a_while_is_waited_for(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    harness.ipc.stop()
    with harness.service() as process:
        process.wait_ready(lambda: "no IPC connection" in process.log_text())
        harness.ipc.start()
        running(harness)
        harness.ipc.stop()
        process.wait_ready(lambda: "closed the IPC connection" in process.log_text())
        harness.ipc.start()
        running(harness, count=2)
        assert process.running


def test_messages_that_are_not_allowed_are_dropped_and_told_once(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    harness.core.add_component(MANAGER, configuration={"images": ["docker:tool:1.0"]})
    with harness.service() as process:
        running(harness)
        harness.ipc.wait_for(
            Call,
            lambda call: call.operation == "PublishToTopic" and call.error is not None,
            count=3,
        )
        log = process.log_text()

    assert log.count("did not take dockermgr/status/image") == 1
    assert "accessControl" in log
    assert harness.ipc.published == []


def test_update_state_is_said_until_it_is_taken(harness: Harness) -> None:
    harness.ipc.fail_operation("UpdateState", "ServiceError", times=1)
    with harness.service():
        running(harness)

    said = [call.error for call in harness.ipc.calls if call.operation == "UpdateState"]
    assert said == ["ServiceError", None]


def test_a_status_request_is_answered_at_once(each_harness: Harness) -> None:
    harness = each_harness
    with harness.service():
        running(harness)
        wait_for_summary(harness, images=0)
        harness.ipc.wait_for(Call, lambda call: call.operation == "SubscribeToTopic")
        before = len(harness.messages(STATUS_TOPIC))
        assert harness.ipc.publish("dockermgr/requests/status", {}) == 1
        harness.ipc.wait_for(
            PublishedMessage, lambda message: message.topic == STATUS_TOPIC, count=before + 1
        )


def test_the_engine_is_waited_for_and_shown(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    harness.device.engine.stop()
    with harness.service({"images": ["docker:tool:1.0"]}):
        waiting = harness.wait_for_image("docker:tool:1.0", "RETRYING")
        assert waiting["error"]["code"] == "DOCKER_SERVICE_UNAVAILABLE"
        assert wait_for_summary(harness, worst="RETRYING")["engine"]["version"] is None
        harness.device.engine.start()
        running(harness)
        harness.ipc.wait_for(
            PublishedMessage,
            lambda message: message.topic == STATUS_TOPIC and message.json()["engine"]["available"],
        )


def test_allow_list_and_digest_requirement(harness: Harness) -> None:
    images = [
        {"uri": uri, "required": False} for uri in ("docker:tool:1", "docker:evil.example/x:1")
    ]
    configuration = {
        "images": images,
        "allowedRegistries": ["docker.io/library"],
        "requireDigest": True,
    }
    with harness.service(configuration):
        no_digest = harness.wait_for_image("docker:tool:1", "FAILED")
        elsewhere = harness.wait_for_image("docker:evil.example/x:1", "FAILED")

    assert no_digest["error"]["code"] == elsewhere["error"]["code"] == "REGISTRY_NOT_ALLOWED"
    assert "requireDigest" in no_digest["error"]["message"]
    assert "allowedRegistries" in elsewhere["error"]["message"]


def test_a_private_registry_with_a_password_file(harness: Harness, tmp_path: Path) -> None:
    registry = harness.device.start_other_registry()
    push_image(registry, "team/app", "1")
    secret = tmp_path / "password"
    assert registry.credentials is not None
    secret.write_text(f"{registry.credentials.password}\n")
    configuration = {
        "images": [f"docker:{registry.name}/team/app:1"],
        "registries": {
            registry.name: {
                "username": registry.credentials.user,
                "passwordFile": str(secret),
            }
        },
    }
    with harness.service(configuration) as process:
        running(harness)
        log = process.log_text()

    assert sum(request.is_login for request in registry.requests()) == 1
    assert registry.credentials.password not in log


def test_a_private_registry_with_a_secret(fresh_device: Device) -> None:
    registry = fresh_device.start_other_registry()
    push_image(registry, "team/app", "1")
    assert registry.credentials is not None
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:registry-AbCdEf"
    secret = {"username": registry.credentials.user, "password": registry.credentials.password}
    with Core(fresh_device, Dialect.JAVA, secrets={arn: json.dumps(secret)}) as core:
        harness = Harness(core)
        core.add_component("aws.greengrass.SecretManager")
        core.add_component(
            MANAGER,
            configuration={
                "images": [f"docker:{registry.name}/team/app:1"],
                "registries": {registry.name: {"secretArn": arn}},
            },
            access_control={
                **manager_access_control(),
                "aws.greengrass.SecretManager": {
                    "policy": {
                        "operations": ["aws.greengrass#GetSecretValue"],
                        "resources": [arn],
                    }
                },
            },
        )
        with harness.service() as process:
            running(harness)
            log = process.log_text()

    assert registry.credentials.password not in log


def test_the_cloud_gets_the_summary_and_final_states(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    component = harness.ipc
    harness.core.add_component(
        MANAGER,
        configuration={
            "images": ["docker:tool:1.0"],
            "status": {"iotCoreTopic": "fleet/{thingName}/docker", "minIntervalSeconds": 0.2},
        },
        access_control={
            "aws.greengrass.ipc.mqttproxy": {
                "policy": {
                    "operations": ["aws.greengrass#PublishToIoTCore"],
                    "resources": ["fleet/sandbox-device/docker"],
                }
            }
        },
    )
    with harness.service():
        ready = component.wait_for(
            PublishedMessage,
            lambda message: (
                message.destination == "iotcore" and message.json().get("state") == "READY"
            ),
        )
        component.wait_for(
            PublishedMessage,
            lambda message: (
                message.destination == "iotcore" and message.json().get("worst") == "READY"
            ),
        )

    assert ready.topic == "fleet/sandbox-device/docker"
    assert ready.qos == 1


def test_a_damaged_state_file_is_put_aside(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    (harness.home / "state.sqlite3").write_bytes(b"not a database" * 1000)
    with harness.service({"images": ["docker:tool:1.0"]}) as process:
        running(harness)
        assert "damaged, starting a new one" in process.log_text()

    assert (harness.home / "state.sqlite3.damaged").exists()


def test_outside_greengrass_it_says_what_to_use(harness: Harness) -> None:
    done = harness.run("serve", AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT="")
    assert done.code == 2
    assert "dockermgr pull" in done.err


def test_a_configuration_that_lite_cannot_hand_over_fails_the_deployment(
    fresh_device: Device,
) -> None:
    with Core(fresh_device, Dialect.LITE) as core:
        harness = Harness(core)
        images = [f"docker:tool:{'long' * 20}-{n}" for n in range(200)]
        with harness.service({"images": images}) as process:
            harness.ipc.wait_for(StateReport, lambda report: report.state == "ERRORED")
            assert process.wait_ended(20)
        told = harness.messages(STATUS_TOPIC)[-1]["configurationProblems"]

    assert told[0].startswith("images: the nucleus cannot hand this value over")


def test_a_lite_message_cap_is_never_hit(each_harness: Harness) -> None:
    """Many images: no message grows with their number.

    Lite decodes no more than 255 values of one message, so the configuration is read in parts.
    """
    harness = each_harness
    images = [f"docker:tool:absent-{n}" for n in range(240)]
    startup = {"onFailure": "continue"}
    with harness.service({"images": images, "maxConcurrentPulls": 10, "startup": startup}):
        running(harness)
        wait_for_summary(harness, images=240, worst="FAILED")
        for number in (0, 239):
            harness.wait_for_image(f"docker:tool:absent-{number}", "FAILED")

    closed = [
        event
        for event in harness.ipc.records
        if isinstance(event, ConnectionEvent)
        and event.event == "closed"
        and "bytes" in event.reason
    ]
    assert closed == []
    assert harness.core.dialect in set(Dialect)


def test_an_image_that_is_removed_behind_our_back_comes_back(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    with harness.service({"images": ["docker:tool:1.0"]}):
        running(harness)
        wait_for_summary(harness, worst="READY")
        with harness.device.engine.client() as client:
            client.images.remove("tool:1.0")
        harness.wait_for_image("docker:tool:1.0", "REMOVED")
        harness.wait_for_image("docker:tool:1.0", "READY", count=2)
        assert harness.device.engine.tags() == {"tool:1.0"}


def test_removals_are_noticed_also_after_the_engine_was_away(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    with harness.service({"images": ["docker:tool:1.0"]}):
        running(harness)
        wait_for_summary(harness, worst="READY")
        harness.device.engine.restart()
        with harness.device.engine.client() as client:
            client.images.remove("tool:1.0")
        harness.wait_for_image("docker:tool:1.0", "READY", count=2)


def test_one_dead_registry_is_asked_by_one_image_and_slows_no_other(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    dead = [f"docker:registy.example.com/app{n}:1" for n in range(10)]
    configuration = {
        "images": [*({"uri": uri, "required": False} for uri in dead), "docker:tool:1.0"],
        "maxConcurrentPulls": 1,
    }
    with harness.service(configuration):
        running(harness)
        for uri in dead:
            harness.wait_for_image(uri, "RETRYING")
        harness.wait_for_image(dead[0], "RETRYING", count=3)
        attempts = [m for m in harness.messages(IMAGE_TOPIC) if m["state"] == "PULLING"]

    of_the_dead = [m for m in attempts if m["image"] in dead]
    # Each attempt of the ten is one question to the registry: far fewer than ten for each round.
    assert len(of_the_dead) < 10 + 8
