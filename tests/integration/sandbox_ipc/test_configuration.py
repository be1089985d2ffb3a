"""Configuration over IPC: reading, changing, following."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from awsiot.greengrasscoreipc import model as shapes

from tests.integration.sandbox_ipc.client import MANAGER, OTHER, Client, connected
from tests.sandbox.ipc import Component, Dialect, IpcServer


def test_own_configuration(client: Client) -> None:
    configuration = client.configuration()

    assert configuration["images"] == ["docker:alpine:3"]
    assert client.configuration("retry") == {"maxSeconds": 300}


def test_access_control_is_part_of_the_configuration_as_on_a_device(client: Client) -> None:
    assert set(client.configuration()) == {"images", "retry", "accessControl"}


def test_configuration_of_another_component_needs_no_permission(client: Client) -> None:
    assert client.configuration(component=OTHER) == {"dockerImages": ["docker:nginx:1"]}


def test_a_leaf_comes_under_its_own_name(client: Client) -> None:
    assert client.configuration("retry", "maxSeconds") == {"maxSeconds": 300}
    assert client.configuration("images") == {"images": ["docker:alpine:3"]}


@pytest.mark.parametrize(
    ("component", "key_path"),
    [(MANAGER, ["nothing"]), (MANAGER, ["images", "0"]), ("com.example.Unknown", [])],
)
def test_missing_configuration_is_not_found(
    client: Client, component: str, key_path: list[str]
) -> None:
    with pytest.raises(shapes.ResourceNotFoundError):
        client.configuration(*key_path, component=component)


def test_an_empty_configuration_is_missing_on_lite_and_empty_on_java(server: IpcServer) -> None:
    server.add_component(Component("com.example.Empty"))
    with connected(server, "com.example.Empty") as client:
        if server.dialect is Dialect.JAVA:
            assert client.configuration() == {}
        else:
            with pytest.raises(shapes.ResourceNotFoundError):
                client.configuration()


def test_own_configuration_can_be_changed_but_not_its_access_control(client: Client) -> None:
    now = datetime.now(timezone.utc)

    client.ipc.update_configuration(
        key_path=["retry"], timestamp=now, value_to_merge={"maxSeconds": 60}
    )

    assert client.configuration("retry") == {"maxSeconds": 60}
    with pytest.raises(shapes.InvalidArgumentsError):
        client.ipc.update_configuration(
            key_path=["accessControl"], timestamp=now, value_to_merge={"x": 1}
        )


def _follow_configuration(client: Client, *key_path: str, component: str = MANAGER) -> None:
    client.ipc.subscribe_to_configuration_update(
        component_name=component, key_path=[*key_path], on_stream_event=client.events.put
    )


def test_each_changed_leaf_is_an_event(server: IpcServer, client: Client) -> None:
    _follow_configuration(client)

    server.update_configuration(MANAGER, {"retry": {"maxSeconds": 1, "initialSeconds": 2}, "x": 3})

    events = [client.event().configuration_update_event for _ in range(3)]
    assert {event.component_name for event in events} == {MANAGER}
    assert sorted(event.key_path for event in events) == [
        ["retry", "initialSeconds"],
        ["retry", "maxSeconds"],
        ["x"],
    ]


def test_events_are_of_the_subscribed_path_and_of_changes_only(
    server: IpcServer, client: Client
) -> None:
    _follow_configuration(client, "retry")

    server.update_configuration(MANAGER, {"images": [], "retry": {"maxSeconds": 300}})
    server.update_configuration(MANAGER, {"retry": {"maxSeconds": 10}})

    assert client.event().configuration_update_event.key_path == ["retry", "maxSeconds"]
    assert client.has_no_event()


def test_another_component_can_be_followed(server: IpcServer, client: Client) -> None:
    _follow_configuration(client, component=OTHER)

    server.update_configuration(OTHER, {"dockerImages": []})

    event = client.event().configuration_update_event
    assert (event.component_name, event.key_path) == (OTHER, ["dockerImages"])
    assert client.configuration("dockerImages", component=OTHER) == {"dockerImages": []}


def test_a_missing_key_cannot_be_followed(client: Client) -> None:
    with pytest.raises(shapes.ResourceNotFoundError):
        _follow_configuration(client, "nothing")


def test_java_tells_of_a_removed_key(java: IpcServer, java_client: Client) -> None:
    _follow_configuration(java_client)

    java.update_configuration(MANAGER, reset=[["retry"]])

    assert java_client.event().configuration_update_event.key_path == ["retry"]
    java.update_configuration(MANAGER, {"retry": {"maxSeconds": 1}})
    assert java_client.event().configuration_update_event.key_path == ["retry", "maxSeconds"]


def test_lite_forgets_the_subscriptions_to_a_removed_key(
    lite: IpcServer, lite_client: Client
) -> None:
    _follow_configuration(lite_client, "retry")

    lite.update_configuration(MANAGER, {"retry": {"maxSeconds": 1}}, reset=[["retry"]])

    assert lite_client.has_no_event()
    assert lite_client.configuration("retry") == {"maxSeconds": 1}


def test_a_reset_of_everything_leaves_nothing_on_lite(lite: IpcServer, lite_client: Client) -> None:
    lite.update_configuration(MANAGER, reset=[()])

    with pytest.raises(shapes.ResourceNotFoundError):
        lite_client.configuration()
    with pytest.raises(shapes.UnauthorizedError):
        lite_client.publish("dockermgr/status", {})
