"""Bytes on the socket, good and bad."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

from tests.integration.sandbox_ipc.client import (
    MANAGER,
    TIMEOUT_SECONDS,
    Client,
    raw_connection,
    read_frame,
    request_bytes,
)
from tests.sandbox.eventstream import Frame, MessageFlag, MessageType, encode
from tests.sandbox.ipc import ConnectionEvent, Dialect, IpcServer


def test_flags_of_responses_and_events_are_the_dialect_s(server: IpcServer) -> None:
    with contextlib.closing(raw_connection(server)) as connection:
        accepted = read_frame(connection)
        connection.sendall(request_bytes("UpdateState", b'{"state": "RUNNING"}', stream_id=1))
        response = read_frame(connection)
        connection.sendall(
            request_bytes("SubscribeToTopic", b'{"topic": "dockermgr/x"}', stream_id=2)
        )
        subscribed = read_frame(connection)
        server.publish("dockermgr/x", {})
        event = read_frame(connection)

    is_java = server.dialect is Dialect.JAVA
    assert accepted.message_type == MessageType.CONNECT_ACK
    assert accepted.flags == MessageFlag.CONNECTION_ACCEPTED
    assert response.flags == (MessageFlag.TERMINATE_STREAM if is_java else MessageFlag.NONE)
    assert response.text("service-model-type") == "aws.greengrass#UpdateStateResponse"
    assert (subscribed.flags, event.flags) == (MessageFlag.NONE, MessageFlag.NONE)
    assert (subscribed.stream_id, event.stream_id) == (2, 2)
    assert event.text("service-model-type") == "aws.greengrass#SubscriptionResponseMessage"


def test_errors_have_the_dialect_s_payload(server: IpcServer) -> None:
    with contextlib.closing(raw_connection(server)) as connection:
        read_frame(connection)
        connection.sendall(request_bytes("GetConfiguration", b'{"keyPath": ["nothing"]}'))
        error = read_frame(connection)

    assert error.message_type == MessageType.APPLICATION_ERROR
    assert error.flags == MessageFlag.TERMINATE_STREAM
    assert error.text("service-model-type") == "aws.greengrass#ResourceNotFoundError"
    payload = json.loads(error.payload)
    assert payload["_errorCode"] == "ResourceNotFoundError"
    assert ("message" in payload) is (server.dialect is Dialect.JAVA)
    assert payload["_message"] == "Key not found"


@pytest.mark.parametrize("what", ["crc", "no-connect", "nonsense"])
def test_a_broken_client_loses_its_connection_and_no_other(
    server: IpcServer, client: Client, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken = bytearray(request_bytes("UpdateState", b'{"state": "RUNNING"}'))
    with contextlib.closing(raw_connection(server)) as connection:
        read_frame(connection)
        if what == "crc":
            broken[-1] ^= 0xFF
        elif what == "nonsense":
            broken = bytearray(b"GET / HTTP/1.1\r\n\r\n")
        else:
            broken = bytearray(encode(Frame.message(MessageType.CONNECT, stream_id=0)))
        connection.sendall(broken)
        assert connection.recv(1) == b""

    server.wait_for(ConnectionEvent, lambda event: event.event == "closed")
    assert any("ipc connection closed" in message for message in caplog.messages)
    client.ipc.update_state(state="RUNNING")
    assert server.states == [(MANAGER, "RUNNING")]


def test_an_undecodable_request_is_an_error_of_its_stream(server: IpcServer) -> None:
    with contextlib.closing(raw_connection(server)) as connection:
        read_frame(connection)
        connection.sendall(request_bytes("UpdateState", b"no json"))
        assert read_frame(connection).message_type == MessageType.APPLICATION_ERROR


def test_java_answers_pings(java: IpcServer) -> None:
    with contextlib.closing(raw_connection(java)) as connection:
        read_frame(connection)
        connection.sendall(encode(Frame.message(MessageType.PING, stream_id=0, payload=b"hello")))
        pong = read_frame(connection)

    assert (pong.message_type, pong.payload) == (MessageType.PING_RESPONSE, b"hello")


def test_a_client_that_speaks_before_it_connects_is_refused(server: IpcServer) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(str(server.socket_path))
        connection.sendall(request_bytes("UpdateState", b'{"state": "RUNNING"}'))
        assert connection.recv(1) == b""

    server.wait_for(ConnectionEvent, lambda event: event.event == "refused")
    assert server.states == []
