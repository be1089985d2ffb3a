"""What a nucleus is made of: its dialect, its limits, its components, and one call of a client."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

from tests.sandbox.nucleus.records import JsonObject, Timeline
from tests.sandbox.secrets import SECRETS

KeyPath: TypeAlias = tuple[str, ...]
"""Where a configuration value is: one key per level, empty for the whole configuration."""

LITE_MAX_MESSAGE_BYTES = 10_000
"""Lite's buffer for one message (`GGL_IPC_MAX_MSG_LEN` in `ipc_server.h`)."""

LITE_MAX_CLIENTS = 50
"""Lite's number of connections (`GGL_IPC_MAX_CLIENTS` in `ipc_server.c`)."""

LITE_MAX_SUBOBJECTS = 255
"""Values of one JSON document that Lite decodes (its SDK's `GG_MAX_OBJECT_SUBOBJECTS`)."""

LITE_MAX_TOPIC_BYTES = 256
"""Lite's longest local topic (`GGL_PUBSUB_MAX_TOPIC_LENGTH` in `ggpubsubd/src/bus_server.c`)."""

OPERATION_NAMESPACE = "aws.greengrass#"
"""Stands before the name of every operation, request, response and error on the wire."""


class Dialect(str, Enum):
    """Which nucleus a test double imitates."""

    JAVA = "java"
    LITE = "lite"


def new_auth_token() -> str:
    """An SVCUID that either nucleus could give out: 16 upper-case characters, valid base64."""
    token = secrets.token_hex(8).upper()
    SECRETS.add("an SVCUID", token)
    return token


@dataclass(slots=True)
class Component:
    """A component that the nucleus knows, and what it keeps about it.

    `access_control` is the recipe's block, service by service: `{"aws.greengrass.ipc.pubsub":
    {"any:policy:id": {"operations": ["aws.greengrass#PublishToTopic"], "resources":
    ["topic/*"]}}}`. `state` follows the component's UpdateState calls.
    """

    name: str
    auth_token: str = field(default_factory=new_auth_token)
    configuration: JsonObject = field(default_factory=dict)
    access_control: JsonObject = field(default_factory=dict)
    version: str = "1.0.0"
    state: str = "STARTING"

    def configuration_tree(self) -> JsonObject:
        """What GetConfiguration shows: both nuclei keep `accessControl` in the configuration."""
        access_control = {"accessControl": self.access_control} if self.access_control else {}
        return {**self.configuration, **access_control}


@dataclass(slots=True)
class Nucleus:
    """The state that all services of a nucleus share."""

    dialect: Dialect
    components: dict[str, Component]
    secrets: Mapping[str, str | bytes]
    timeline: Timeline

    @property
    def is_lite(self) -> bool:
        return self.dialect is Dialect.LITE


class IpcError(Exception):
    """An error answered to the caller. `name` is its short name, such as "ServiceError"."""

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.message = message


class Stream(Protocol):
    """One call of a client; it stays open for events when the call subscribes."""

    @property
    def component(self) -> Component: ...

    def send_event(self, model: str, payload: JsonObject) -> None: ...


Handler: TypeAlias = Callable[[Stream, JsonObject], JsonObject]
"""Does an operation and returns its response. Raises IpcError."""


class Service(Protocol):
    """A group of operations. Not thread-safe by itself: the server calls it under its lock."""

    def handlers(self) -> dict[str, Handler]:
        """The operations that the nucleus has, by short name such as "PublishToTopic"."""

    def close(self, stream: Stream) -> None:
        """Ends the stream's subscription, if it has one here."""


def text(request: JsonObject, key: str) -> str:
    """A required string of a request. Raises IpcError."""
    value = request.get(key)
    if not isinstance(value, str):
        raise IpcError("ServiceError", "Received invalid parameters.")
    return value
