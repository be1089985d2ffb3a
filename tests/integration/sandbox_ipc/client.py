"""The SDK's client for these tests, and a client of bytes."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from awsiot.eventstreamrpc import LifecycleHandler
from awsiot.greengrasscoreipc import connect
from awsiot.greengrasscoreipc import model as shapes
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

from tests.sandbox.eventstream import Frame, MessageType, decode, encode
from tests.sandbox.ipc import Component, IpcServer

TIMEOUT_SECONDS = 30.0
SILENCE_SECONDS = 0.3
"""How long a thing that must not come is waited for; a slow machine only makes a test too kind."""

MANAGER = "io.dockermgr.DockerApplicationManager"
OTHER = "com.example.Application"
SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:registry/login-a1B2c3"


def allow(operation: str, *resources: str) -> dict[str, Any]:
    return {"policy": {"operations": [f"aws.greengrass#{operation}"], "resources": [*resources]}}


def components() -> list[Component]:
    return [
        Component(
            MANAGER,
            configuration={"images": ["docker:alpine:3"], "retry": {"maxSeconds": 300}},
            access_control={
                "aws.greengrass.ipc.pubsub": {
                    "all": {"operations": ["*"], "resources": ["dockermgr/*", "other/+"]}
                },
                "aws.greengrass.ipc.mqttproxy": {
                    "all": {"operations": ["*"], "resources": ["things/+/status", "cloud/#"]}
                },
            },
        ),
        Component(OTHER, configuration={"dockerImages": ["docker:nginx:1"]}),
    ]


class Client:
    """The SDK's client, connected; it keeps how its connection ended, and its events."""

    def __init__(self, server: IpcServer, component: str = MANAGER, token: str = "") -> None:
        self.disconnected: Future[Exception | None] = Future()
        self.events: queue.Queue[Any] = queue.Queue()
        told = self.disconnected

        class Handler(LifecycleHandler):  # type: ignore[misc]
            def on_disconnect(self, reason: Exception | None) -> None:
                told.set_result(reason)

        self.raw = connect(
            ipc_socket=str(server.socket_path),
            authtoken=token or server.environment(component)["SVCUID"],
            lifecycle_handler=Handler(),
            timeout=TIMEOUT_SECONDS,
        )
        self.ipc = GreengrassCoreIPCClientV2(client=self.raw)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.ipc.close().result(TIMEOUT_SECONDS)

    def configuration(self, *key_path: str, component: str | None = None) -> Any:
        answer = self.ipc.get_configuration(component_name=component, key_path=[*key_path])
        return answer.value

    def publish(self, topic: str, message: Mapping[str, Any]) -> None:
        self.ipc.publish_to_topic(
            topic=topic,
            publish_message=shapes.PublishMessage(
                json_message=shapes.JsonMessage(message=dict(message))
            ),
        )

    def subscribe(self, topic: str, **options: Any) -> Any:
        _, operation = self.ipc.subscribe_to_topic(
            topic=topic, on_stream_event=self.events.put, **options
        )
        return operation

    def event(self) -> Any:
        return self.events.get(timeout=TIMEOUT_SECONDS)

    def has_no_event(self) -> bool:
        try:
            self.events.get(timeout=SILENCE_SECONDS)
        except queue.Empty:
            return True
        return False


@contextlib.contextmanager
def connected(server: IpcServer, component: str = MANAGER) -> Iterator[Client]:
    client = Client(server, component)
    try:
        yield client
    finally:
        client.close()


def raw_connection(server: IpcServer) -> socket.socket:
    """A connection that has sent its connect message."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT_SECONDS)
    connection.connect(str(server.socket_path))
    token = server.environment(MANAGER)["SVCUID"]
    connection.sendall(
        encode(
            Frame.message(
                MessageType.CONNECT,
                stream_id=0,
                headers={":version": "0.1.0"},
                payload=json.dumps({"authToken": token}).encode(),
            )
        )
    )
    return connection


def read_frame(connection: socket.socket) -> Frame:
    data = connection.recv(4, socket.MSG_WAITALL)
    rest = int.from_bytes(data, "big") - len(data)
    return decode(data + connection.recv(rest, socket.MSG_WAITALL))


def request_bytes(operation: str, payload: bytes, stream_id: int = 1) -> bytes:
    return encode(
        Frame.message(
            MessageType.APPLICATION_MESSAGE,
            stream_id=stream_id,
            headers={
                "operation": f"aws.greengrass#{operation}",
                "service-model-type": f"aws.greengrass#{operation}Request",
                ":content-type": "application/json",
            },
            payload=payload,
        )
    )
