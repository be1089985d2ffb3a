"""Coming and going: tokens, restarts, limits of clients, faults."""

from __future__ import annotations

import threading
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest
from awscrt.exceptions import AwsCrtError
from awsiot.eventstreamrpc import AccessDeniedError
from awsiot.greengrasscoreipc import model as shapes
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

from tests.integration.sandbox_ipc.client import (
    MANAGER,
    SILENCE_SECONDS,
    TIMEOUT_SECONDS,
    Client,
    connected,
)
from tests.sandbox.ipc import (
    Call,
    Component,
    ConnectionEvent,
    Dialect,
    IpcServer,
    PublishedMessage,
    StateReport,
    new_auth_token,
)


def test_the_environment_is_enough_for_the_client(
    server: IpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment(MANAGER).items():
        monkeypatch.setenv(name, value)

    client = GreengrassCoreIPCClientV2()

    client.update_state(state="RUNNING")
    assert server.connected_components == [MANAGER]
    client.close().result(TIMEOUT_SECONDS)
    server.wait_for(ConnectionEvent, lambda event: event.event == "closed")
    assert server.connected_components == []


def test_java_denies_access_to_an_unknown_token(java: IpcServer) -> None:
    with pytest.raises(AccessDeniedError):
        Client(java, token=new_auth_token())

    refused = java.wait_for(ConnectionEvent, lambda event: event.event == "refused")
    assert "token" in refused.reason


def test_lite_just_closes_on_an_unknown_token(lite: IpcServer) -> None:
    with pytest.raises(AwsCrtError):
        Client(lite, token=new_auth_token())

    lite.wait_for(ConnectionEvent, lambda event: event.event == "refused")


def test_a_component_can_be_added_later(server: IpcServer) -> None:
    server.add_component(Component("com.example.Late"))

    with connected(server, "com.example.Late") as client:
        client.ipc.update_state(state="RUNNING")

    assert server.states == [("com.example.Late", "RUNNING")]


def test_dropped_connections_are_told_to_the_client_and_it_can_come_again(
    server: IpcServer, client: Client
) -> None:
    server.drop_connections()

    assert client.disconnected.result(TIMEOUT_SECONDS) is not None
    closed = server.wait_for(ConnectionEvent, lambda event: event.event == "closed")
    assert closed.reason == "dropped by the server"
    with connected(server) as again:
        again.ipc.update_state(state="RUNNING")
    assert server.states == [(MANAGER, "RUNNING")]


def test_a_restarted_server_is_on_the_same_path_and_knows_no_old_subscription(
    server: IpcServer, client: Client
) -> None:
    client.subscribe("dockermgr/requests")

    server.stop()

    client.disconnected.result(TIMEOUT_SECONDS)
    assert not server.socket_path.exists()
    server.start()
    with connected(server) as again:
        again.subscribe("dockermgr/requests")
        assert server.publish("dockermgr/requests", {}) == 1


def test_refused_connections(server: IpcServer, client: Client) -> None:
    server.refuse_connections()
    with pytest.raises(AwsCrtError):
        Client(server)
    client.ipc.update_state(state="RUNNING")

    server.refuse_connections(False)

    with connected(server) as again:
        again.ipc.update_state(state="RUNNING")


def test_stop_leaves_no_thread_and_no_file(server: IpcServer, client: Client) -> None:
    with pytest.raises(RuntimeError, match="runs already"):
        server.start()

    server.stop()
    server.stop()

    assert not server.socket_path.exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "sandbox-ipc"]


def test_a_socket_that_cannot_be_made_is_an_error_of_start(tmp_path: Path) -> None:
    server = IpcServer(tmp_path / "nowhere" / "ipc.socket", Dialect.LITE)

    with pytest.raises(OSError, match="No such file"):
        server.start()
    server.stop()


def test_states_are_recorded_in_order(server: IpcServer, client: Client) -> None:
    client.ipc.update_state(state="RUNNING")
    client.ipc.update_state(state="ERRORED")

    assert server.states == [(MANAGER, "RUNNING"), (MANAGER, "ERRORED")]
    report = server.wait_for(StateReport, lambda report: report.state == "ERRORED")
    assert report.at_seconds >= server.wait_for(StateReport).at_seconds


def test_a_state_that_does_not_exist_is_refused(server: IpcServer, client: Client) -> None:
    with pytest.raises(shapes.ServiceError):
        client.ipc.update_state(state="HAPPY")
    assert server.states == []


def test_an_injected_error_comes_as_often_as_it_should(server: IpcServer, client: Client) -> None:
    server.fail_operation("PublishToTopic", "ServiceError", times=2)

    for _ in range(2):
        with pytest.raises(shapes.ServiceError):
            client.publish("dockermgr/status", {})
    client.publish("dockermgr/status", {"n": 3})

    assert [message.json() for message in server.published] == [{"n": 3}]
    assert [call.error for call in server.calls] == ["ServiceError", "ServiceError", None]


def test_an_injected_error_lasts_until_it_is_healed(server: IpcServer, client: Client) -> None:
    server.fail_operation("UpdateState", "UnauthorizedError", message="not today")
    for _ in range(3):
        with pytest.raises(shapes.UnauthorizedError):
            client.ipc.update_state(state="RUNNING")
    assert server.states == []

    server.heal()

    client.ipc.update_state(state="RUNNING")
    assert server.states == [(MANAGER, "RUNNING")]


def test_a_muted_operation_is_neither_done_nor_answered(server: IpcServer, client: Client) -> None:
    server.mute("UpdateState", times=1)

    unanswered = client.ipc.update_state_async(state="RUNNING")

    assert server.wait_for(Call).error == "muted"
    with pytest.raises(FutureTimeoutError):
        unanswered.result(SILENCE_SECONDS)
    client.ipc.update_state(state="ERRORED")
    assert server.states == [(MANAGER, "ERRORED")]


def test_waiting_in_vain_says_what_came_instead(server: IpcServer, client: Client) -> None:
    client.ipc.update_state(state="RUNNING")

    with pytest.raises(TimeoutError, match=r"(?s)no such PublishedMessage.*StateReport.*RUNNING"):
        server.wait_for(PublishedMessage, timeout_seconds=0.01)


def test_waiting_counts(server: IpcServer, client: Client) -> None:
    later = threading.Timer(0.05, client.publish, ("dockermgr/a", {"n": 2}))
    client.publish("dockermgr/a", {"n": 1})
    later.start()

    second = server.wait_for(PublishedMessage, count=2)

    later.join()
    assert second.json() == {"n": 2}
