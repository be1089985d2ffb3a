"""What sets the two nuclei apart: limits, errors, operations."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from awscrt.exceptions import AwsCrtError
from awsiot.eventstreamrpc import StreamClosedError
from awsiot.greengrasscoreipc import model as shapes

from tests.integration.sandbox_ipc.client import (
    MANAGER,
    OTHER,
    SECRET_ARN,
    TIMEOUT_SECONDS,
    Client,
    allow,
    components,
    connected,
    raw_connection,
    read_frame,
)
from tests.sandbox.eventstream import Frame, MessageFlag, MessageType, encode
from tests.sandbox.ipc import Call, Component, ConnectionEvent, Dialect, IpcServer


def _long_message(frame_bytes: int) -> str:
    """The text that makes a PublishToTopic on "dockermgr/x" exactly this long on the wire."""

    def frame(message: str) -> bytes:
        request = shapes.PublishToTopicRequest(
            topic="dockermgr/x",
            publish_message=shapes.PublishMessage(
                json_message=shapes.JsonMessage(message={"m": message})
            ),
        )
        return encode(
            Frame.message(
                MessageType.APPLICATION_MESSAGE,
                stream_id=1,
                headers={
                    ":content-type": "application/json",
                    "service-model-type": "aws.greengrass#PublishToTopicRequest",
                    "operation": "aws.greengrass#PublishToTopic",
                },
                payload=json.dumps(request._to_payload()).encode(),
            )
        )

    return "x" * (frame_bytes - len(frame("")))


def test_lite_takes_a_message_that_just_fits(lite: IpcServer, lite_client: Client) -> None:
    lite_client.publish("dockermgr/x", {"m": _long_message(10_012)})

    assert len(lite.published) == 1


def test_lite_closes_the_connection_on_a_message_that_is_too_long(
    lite: IpcServer, lite_client: Client
) -> None:
    with pytest.raises((StreamClosedError, AwsCrtError)):
        lite_client.publish("dockermgr/x", {"m": _long_message(10_013)})

    lite_client.disconnected.result(TIMEOUT_SECONDS)
    closed = lite.wait_for(ConnectionEvent, lambda event: event.event == "closed")
    assert "10013 bytes" in closed.reason
    assert lite.published == []


def test_java_takes_long_messages(java: IpcServer, java_client: Client) -> None:
    java_client.publish("dockermgr/x", {"m": "x" * 100_000})

    assert len(java.published) == 1


def test_a_configuration_too_long_for_lite_is_an_error_of_the_call(
    server: IpcServer, client: Client
) -> None:
    server.update_configuration(MANAGER, {"images": ["docker:" + "x" * 10_000]})

    if server.dialect is Dialect.JAVA:
        assert len(client.configuration("images")["images"][0]) > 10_000
        return
    with pytest.raises(shapes.ServiceError):
        client.configuration("images")
    client.ipc.update_state(state="RUNNING")


def test_a_document_of_too_many_values_is_an_error_on_lite(
    client: Client, server: IpcServer
) -> None:
    message = {str(number): number for number in range(130)}

    if server.dialect is Dialect.JAVA:
        client.publish("dockermgr/x", message)
        return
    with pytest.raises(shapes.ServiceError):
        client.publish("dockermgr/x", message)


def test_lite_has_room_for_fifty_clients(lite: IpcServer) -> None:
    connections = []
    try:
        for _ in range(50):
            connections.append(raw_connection(lite))
            assert read_frame(connections[-1]).flags == MessageFlag.CONNECTION_ACCEPTED
        one_more = socket.socket(socket.AF_UNIX)
        connections.append(one_more)
        one_more.settimeout(TIMEOUT_SECONDS)
        one_more.connect(str(lite.socket_path))
        assert one_more.recv(1) == b""
    finally:
        for connection in connections:
            connection.close()
    refused = lite.wait_for(ConnectionEvent, lambda event: event.event == "refused")
    assert refused.reason == "too many clients"


def test_error_texts_are_lost_on_lite(server: IpcServer, client: Client) -> None:
    with pytest.raises(shapes.ResourceNotFoundError) as caught:
        client.configuration("nothing")

    expected = "Key not found" if server.dialect is Dialect.JAVA else None
    assert caught.value.message == expected


@pytest.mark.parametrize(
    "operation", ["subscribe_to_component_updates", "subscribe_to_validate_configuration_updates"]
)
def test_what_lite_lacks_is_a_service_error(
    server: IpcServer, client: Client, operation: str
) -> None:
    call = getattr(client.ipc, operation)

    if server.dialect is Dialect.JAVA:
        call(on_stream_event=client.events.put)
        return
    with pytest.raises(shapes.ServiceError) as caught:
        call(on_stream_event=client.events.put)
    assert caught.value.message is None


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("list_components", {}),
        ("get_component_details", {"component_name": OTHER}),
        ("get_secret_value", {"secret_id": SECRET_ARN}),
        ("restart_component", {"component_name": OTHER}),
    ],
)
def test_what_no_deployed_component_serves_is_a_service_error(
    server: IpcServer, client: Client, operation: str, arguments: Mapping[str, str]
) -> None:
    with pytest.raises(shapes.ServiceError) as caught:
        getattr(client.ipc, operation)(**arguments)
    if server.dialect is Dialect.JAVA:
        assert "is not supported by Greengrass" in caught.value.message


def test_deployments_are_announced_and_can_be_deferred(
    java: IpcServer, java_client: Client
) -> None:
    with pytest.raises(shapes.InvalidArgumentsError):
        java_client.ipc.defer_component_update(deployment_id="one", recheck_after_ms=1000)
    java_client.ipc.subscribe_to_component_updates(on_stream_event=java_client.events.put)

    assert java.announce_component_update("one", nucleus_restarts=True) == 1

    event = java_client.event().pre_update_event
    assert (event.deployment_id, event.is_ggc_restarting) == ("one", True)
    java_client.ipc.defer_component_update(deployment_id="one", recheck_after_ms=1000)
    call = java.wait_for(
        Call, lambda call: call.operation == "DeferComponentUpdate" and not call.error
    )
    assert call.request["deploymentId"] == "one"


def test_a_component_is_asked_about_its_new_configuration(
    java: IpcServer, java_client: Client
) -> None:
    java_client.ipc.subscribe_to_validate_configuration_updates(
        on_stream_event=java_client.events.put
    )

    assert java.ask_configuration_validity(MANAGER, {"images": 1}, "one") == 1

    event = java_client.event().validate_configuration_update_event
    assert (event.configuration, event.deployment_id) == ({"images": 1}, "one")
    java_client.ipc.send_configuration_validity_report(
        configuration_validity_report=shapes.ConfigurationValidityReport(
            status="REJECTED", deployment_id="one", message="images is not a list"
        )
    )
    report = java.calls[-1].request["configurationValidityReport"]
    assert report["status"] == "REJECTED"


def test_components_are_listed_while_the_cli_is_deployed(java: IpcServer) -> None:
    java.add_component(Component("aws.greengrass.Cli", version="2.18.0"))
    java.add_component(
        Component(
            "com.example.Lister",
            access_control={"aws.greengrass.Cli": allow("ListComponents", "*")},
        )
    )

    with connected(java, "com.example.Lister") as client:
        listed = client.ipc.list_components().components
        with pytest.raises(shapes.UnauthorizedError):
            client.ipc.get_component_details(component_name=OTHER)

    versions = {component.component_name: component.version for component in listed}
    assert versions["aws.greengrass.Cli"] == "2.18.0"
    assert OTHER in versions


def test_secrets_are_served_while_their_manager_is_deployed(tmp_path: Path) -> None:
    reader = Component(
        "com.example.Reader",
        access_control={"aws.greengrass.SecretManager": allow("GetSecretValue", SECRET_ARN)},
    )
    everyone = [*components(), Component("aws.greengrass.SecretManager"), reader]
    with IpcServer(
        tmp_path / "ipc.socket", Dialect.JAVA, everyone, secrets={SECRET_ARN: "{}"}
    ) as server:
        with connected(server, reader.name) as client:
            by_arn = client.ipc.get_secret_value(secret_id=SECRET_ARN)
            by_name = client.ipc.get_secret_value(secret_id="registry/login")
            with pytest.raises(shapes.ResourceNotFoundError):
                client.ipc.get_secret_value(secret_id="registry/other")
        with connected(server) as client, pytest.raises(shapes.UnauthorizedError):
            client.ipc.get_secret_value(secret_id=SECRET_ARN)

    assert by_arn.secret_value.secret_string == by_name.secret_value.secret_string == "{}"
