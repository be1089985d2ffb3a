"""A Greengrass IPC server for tests: the real protocol on a Unix socket, in either dialect.

    manager = Component("io.dockermgr.DockerApplicationManager", configuration={"images": []})
    with IpcServer(tmp_path / "ipc.socket", Dialect.LITE, [manager]) as server:
        start_the_process(env=server.environment(manager.name))
        server.wait_for(StateReport, lambda report: report.state == "RUNNING")
        server.update_configuration(manager.name, {"images": ["docker:alpine:3"]})
        server.wait_for(PublishedMessage, lambda message: message.json()["state"] == "READY")

What the operations do is in `nucleus/`, the framing in `eventstream.py`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.sandbox.nucleus.connection import Connection, ConnectionStream
from tests.sandbox.nucleus.listener import SocketListener
from tests.sandbox.nucleus.model import (
    LITE_MAX_CLIENTS,
    Component,
    Dialect,
    IpcError,
    Nucleus,
    new_auth_token,
)
from tests.sandbox.nucleus.operations import Operations
from tests.sandbox.nucleus.records import (
    Call,
    ConnectionEvent,
    JsonObject,
    PublishedMessage,
    Record,
    RecordT,
    StateReport,
    Timeline,
)
from tests.sandbox.nucleus.rules import as_lite_recipe_configuration
from tests.sandbox.secrets import SECRETS

__all__ = [
    "Call",
    "Component",
    "ConnectionEvent",
    "Dialect",
    "IpcServer",
    "JsonObject",
    "PublishedMessage",
    "Record",
    "StateReport",
    "as_lite_recipe_configuration",
    "new_auth_token",
]

_WAIT_SECONDS = 30.0
"""How long a test waits for what ought to come at once: generous, since test machines stall."""


@dataclass(slots=True)
class _Fault:
    """What the next calls of an operation get: this error or, without one, no answer."""

    error: IpcError | None
    remaining: int | None

    def take(self) -> bool:
        """Whether the fault strikes this time too."""
        if self.remaining is None:
            return True
        self.remaining -= 1
        return self.remaining >= 0


class IpcServer:
    """A nucleus's IPC socket. All methods may be called from any thread.

    `secrets` are the values of GetSecretValue by ARN; they are served only while
    `aws.greengrass.SecretManager` is among the components of a Java nucleus. What was recorded
    (`records`, `states`, `published`, `calls`) outlives a restart.
    """

    def __init__(
        self,
        socket_path: Path,
        dialect: Dialect,
        components: Iterable[Component] = (),
        *,
        secrets: Mapping[str, str | bytes] | None = None,
    ) -> None:
        self.socket_path = socket_path
        self.dialect = dialect
        self._timeline = Timeline()
        by_name = {component.name: component for component in components}
        self._nucleus = Nucleus(dialect, by_name, dict(secrets or {}), self._timeline)
        self._operations = Operations(self._nucleus)
        self._lock = threading.RLock()
        self._faults: dict[str, _Fault] = {}
        self._refusing = False
        self._connections: set[Connection] = set()
        self._listener = SocketListener(socket_path, self._serve_client, self.drop_connections)

    def __enter__(self) -> IpcServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listens; returns when clients can connect. Raises OSError if there can be no socket."""
        self._listener.start()

    def stop(self) -> None:
        """Closes all connections; leaves no thread and no socket file. It can be started again."""
        self._listener.stop()

    async def _serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = Connection(self, reader, writer)
        with self._lock:
            refusal = self._refusal()
            if not refusal:
                self._connections.add(connection)
        try:
            end = await (connection.refuse(refusal) if refusal else connection.run())
        finally:
            with self._lock:
                self._connections.discard(connection)
        self._timeline.add(end)

    def _refusal(self) -> str:
        """Why a new client is not even listened to; empty if it is."""
        if self._refusing:
            return "connections are refused"
        if self.dialect is Dialect.LITE and len(self._connections) >= LITE_MAX_CLIENTS:
            return "too many clients"
        return ""

    def authenticate(self, auth_token: str) -> Component | None:
        """The component that this token was given to."""
        with self._lock:
            components = self._nucleus.components.values()
            return next((item for item in components if item.auth_token == auth_token), None)

    def handle_call(self, stream: ConnectionStream, operation: str, request: JsonObject) -> None:
        """Does a call and answers it, unless a fault says otherwise."""
        with self._lock:
            outcome: str | None = None
            fault = self._faults.get(operation)
            try:
                if fault is None or not fault.take():
                    stream.respond(operation, self._operations.call(stream, operation, request))
                elif fault.error is None:
                    outcome = "muted"
                else:
                    raise fault.error
            except IpcError as error:
                outcome = error.name
                self._operations.close(stream)
                stream.fail(error)
            self._timeline.add(Call(stream.component.name, operation, request, outcome))

    def handle_stream_closed(self, stream: ConnectionStream) -> None:
        """The stream takes no more events."""
        with self._lock:
            self._operations.close(stream)

    def handle_connected(self, component: Component) -> None:
        """The component's connection was accepted."""
        self._timeline.add(ConnectionEvent(component.name, "connected"))

    @property
    def states(self) -> list[tuple[str, str]]:
        """The component and state of every UpdateState that was taken, in order."""
        return [(report.component, report.state) for report in self._timeline.of(StateReport)]

    @property
    def published(self) -> list[PublishedMessage]:
        """The messages that components published, in order."""
        return self._timeline.of(PublishedMessage)

    @property
    def calls(self) -> list[Call]:
        """All requests that were handled, failed ones too, in order."""
        return self._timeline.of(Call)

    @property
    def records(self) -> list[Record]:
        """Everything that was recorded, in order, with its time."""
        return self._timeline.all()

    @property
    def connected_components(self) -> list[str]:
        """The components with a connection now, once for each connection."""
        with self._lock:
            return sorted(item.component.name for item in self._connections if item.component)

    def look_for_secrets(self) -> None:
        """Has all requests looked at, also refused ones, and the bytes of messages."""
        said: dict[str, list[bytes]] = {}
        for call in self.calls:
            content = json.dumps(call.request, default=repr).encode()
            said.setdefault(f"a request: {call.operation}", []).append(content)
        for message in self.published:
            if isinstance(message.payload, bytes):
                place = f"a {message.destination} message"
                said.setdefault(place, []).append(message.payload)
        for place, contents in said.items():
            SECRETS.look(place, b"\n".join(contents))

    def wait_for(
        self,
        kind: type[RecordT],
        predicate: Callable[[RecordT], bool] = lambda _record: True,
        *,
        timeout_seconds: float = _WAIT_SECONDS,
        count: int = 1,
    ) -> RecordT:
        """The `count`-th record of a kind for which `predicate` holds, waiting for it if need be.

        `kind` is StateReport, PublishedMessage, Call or ConnectionEvent. Records from before the
        call count too. Raises TimeoutError that lists what was seen instead.
        """
        return self._timeline.wait_for(
            kind, predicate, timeout_seconds=timeout_seconds, count=count
        )

    def add_component(self, component: Component) -> None:
        """Makes a component known, in the place of one with that name."""
        with self._lock:
            self._nucleus.components[component.name] = component

    def component(self, name: str) -> Component | None:
        """A component that is known."""
        with self._lock:
            return self._nucleus.components.get(name)

    def environment(self, component: str) -> dict[str, str]:
        """The variables with which a nucleus starts this component, as far as IPC goes."""
        with self._lock:
            token = self._nucleus.components[component].auth_token
        return {
            "SVCUID": token,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(self.socket_path),
        }

    def update_configuration(
        self,
        component: str,
        merge: Mapping[str, Any] | None = None,
        reset: Iterable[Sequence[str]] = (),
    ) -> None:
        """Changes a component's configuration as a deployment does: first `reset`, then `merge`.

        A reset names key paths, and removes what is there (recipe defaults are not known here);
        `()` is the whole configuration, which on Lite takes `accessControl` with it. Either nucleus
        sends its subscribers one event for each leaf that changed. For removed keys Java sends one
        event; Lite sends none and, what is more, forgets the subscriptions to them.
        """
        with self._lock:
            paths = [tuple(path) for path in reset]
            self._operations.configuration.update(component, merge or {}, paths)

    def publish(self, topic: str, message: JsonObject | bytes, *, source: str = "sandbox") -> int:
        """Publishes locally as the component `source`; returns how many got the message."""
        with self._lock:
            return self._operations.pubsub.deliver(source, topic, message)

    def publish_from_iot_core(self, topic: str, payload: bytes) -> int:
        """A message comes from AWS IoT Core; returns how many subscribers got it."""
        with self._lock:
            return self._operations.mqtt_proxy.deliver(topic, payload)

    def announce_component_update(
        self, deployment_id: str, *, nucleus_restarts: bool = False
    ) -> int:
        """Java: tells subscribers that a component update is due; returns how many they are."""
        with self._lock:
            return self._operations.lifecycle.announce_update(
                deployment_id, nucleus_restarts=nucleus_restarts
            )

    def ask_configuration_validity(
        self, component: str, configuration: JsonObject, deployment_id: str
    ) -> int:
        """Java: asks a component if a configuration is valid; returns how many were asked."""
        with self._lock:
            return self._operations.lifecycle.ask_validity(component, configuration, deployment_id)

    def fail_operation(
        self, operation: str, error: str, *, times: int | None = None, message: str = "injected"
    ) -> None:
        """Answers the next `times` calls (None: all) with an error, such as "ServiceError"."""
        self._set_fault(operation, _Fault(IpcError(error, message), times))

    def mute(self, operation: str, *, times: int | None = None) -> None:
        """Does not do, and never answers, the next `times` calls (None: all) of an operation."""
        self._set_fault(operation, _Fault(None, times))

    def heal(self) -> None:
        """Ends all faults: errors, silences, refused connections."""
        with self._lock:
            self._faults.clear()
            self._refusing = False

    def refuse_connections(self, refuse: bool = True) -> None:
        """Closes new connections at once, before the handshake; the ones there are stay."""
        with self._lock:
            self._refusing = refuse

    def drop_connections(self) -> None:
        """Closes every connection as a restarting nucleus does; new ones are welcome."""
        with self._lock:
            for connection in self._connections:
                connection.drop("dropped by the server")

    def _set_fault(self, operation: str, fault: _Fault) -> None:
        with self._lock:
            self._faults[operation] = fault
