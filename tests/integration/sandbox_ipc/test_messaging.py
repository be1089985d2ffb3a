"""Messages among components and with AWS IoT Core."""

from __future__ import annotations

import pytest
from awsiot.greengrasscoreipc import model as shapes

from tests.integration.sandbox_ipc.client import MANAGER, TIMEOUT_SECONDS, Client, allow, connected
from tests.sandbox.ipc import Call, Component, ConnectionEvent, IpcServer


def test_json_and_binary_messages_are_recorded(server: IpcServer, client: Client) -> None:
    client.publish("dockermgr/status", {"state": "READY"})
    client.ipc.publish_to_topic(
        topic="dockermgr/raw",
        publish_message=shapes.PublishMessage(
            binary_message=shapes.BinaryMessage(message=b'{"state": "FAILED"}')
        ),
    )

    as_json, as_binary = server.published
    assert (as_json.component, as_json.topic, as_json.kind) == (
        MANAGER,
        "dockermgr/status",
        "json",
    )
    assert as_json.payload == as_json.json() == {"state": "READY"}
    assert (as_binary.kind, as_binary.payload) == ("binary", b'{"state": "FAILED"}')
    assert as_binary.json() == {"state": "FAILED"}
    assert {message.destination for message in server.published} == {"local"}


@pytest.mark.parametrize("topic", ["elsewhere", "dockermgr", "other/topic"])
def test_publishing_needs_permission(server: IpcServer, client: Client, topic: str) -> None:
    with pytest.raises(shapes.UnauthorizedError):
        client.publish(topic, {})

    assert server.published == []
    assert server.wait_for(Call).error == "UnauthorizedError"


def test_subscribing_needs_permission(server: IpcServer, client: Client) -> None:
    with pytest.raises(shapes.UnauthorizedError):
        client.subscribe("elsewhere")
    assert server.publish("elsewhere", {}) == 0


def test_messages_reach_subscribers(server: IpcServer, client: Client) -> None:
    client.subscribe("dockermgr/requests/pull")

    reached = server.publish("dockermgr/requests/pull", {"image": "alpine"})
    server.publish("dockermgr/requests/pull", b"\x00\x01")
    server.publish("dockermgr/requests/other", {})

    assert reached == 1
    as_json, as_binary = client.event(), client.event()
    assert as_json.json_message.message == {"image": "alpine"}
    assert as_json.json_message.context.topic == "dockermgr/requests/pull"
    assert as_binary.binary_message.message == b"\x00\x01"
    assert client.has_no_event()


def test_components_hear_each_other(server: IpcServer, client: Client) -> None:
    other = Component(
        "com.example.Asker",
        access_control={"aws.greengrass.ipc.pubsub": allow("PublishToTopic", "*")},
    )
    server.add_component(other)
    client.subscribe("dockermgr/requests/+")

    with connected(server, other.name) as asker:
        asker.publish("dockermgr/requests/pull", {"image": "alpine"})

    assert client.event().json_message.message == {"image": "alpine"}


def test_java_keeps_own_messages_from_a_wildcard_subscription(java_client: Client) -> None:
    java_client.subscribe("dockermgr/a/+")

    java_client.publish("dockermgr/a/b", {})

    assert java_client.has_no_event()


def test_java_gives_own_messages_to_who_asks_for_them(java_client: Client) -> None:
    java_client.subscribe("dockermgr/a/+", receive_mode="RECEIVE_ALL_MESSAGES")

    java_client.publish("dockermgr/a/b", {"n": 1})

    assert java_client.event().json_message.message == {"n": 1}


def test_lite_gives_own_messages_back(lite_client: Client) -> None:
    lite_client.subscribe("dockermgr/a/+")

    lite_client.publish("dockermgr/a/b", {"n": 1})

    assert lite_client.event().json_message.message == {"n": 1}


def test_a_cancelled_subscription_gets_nothing_more(server: IpcServer, client: Client) -> None:
    operation = client.subscribe("dockermgr/requests")
    client.subscribe("dockermgr/other")

    operation.close().result(TIMEOUT_SECONDS)
    # The cancellation has no answer; one for a later request says that it has come.
    client.ipc.update_state(state="RUNNING")

    assert server.publish("dockermgr/requests", {}) == 0
    assert server.publish("dockermgr/other", {}) == 1
    assert client.event().json_message.context.topic == "dockermgr/other"


def test_subscriptions_end_with_their_connection(server: IpcServer) -> None:
    with connected(server) as client:
        client.subscribe("dockermgr/requests")

    server.wait_for(ConnectionEvent, lambda event: event.event == "closed")
    assert server.publish("dockermgr/requests", {}) == 0


def test_messages_to_iot_core_are_recorded(server: IpcServer, client: Client) -> None:
    client.ipc.publish_to_iot_core(
        topic_name="things/device/status", qos="1", payload=b'{"state": "READY"}'
    )

    (message,) = server.published
    assert (message.destination, message.topic, message.qos) == (
        "iotcore",
        "things/device/status",
        1,
    )
    assert message.json() == {"state": "READY"}


def test_publishing_to_iot_core_needs_permission(server: IpcServer, client: Client) -> None:
    with pytest.raises(shapes.UnauthorizedError):
        client.ipc.publish_to_iot_core(topic_name="things/a/b/status", qos="1", payload=b"")
    assert server.published == []


def test_messages_from_iot_core_reach_subscribers(server: IpcServer, client: Client) -> None:
    client.ipc.subscribe_to_iot_core(
        topic_name="cloud/#", qos="1", on_stream_event=client.events.put
    )

    assert server.publish_from_iot_core("cloud/jobs/1", b"work") == 1

    message = client.event().message
    assert (message.topic_name, message.payload) == ("cloud/jobs/1", b"work")
