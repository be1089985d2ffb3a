"""All operations of a nucleus in one place, and what becomes of one that it does not have."""

from __future__ import annotations

from tests.sandbox.nucleus.addons import CliService, SecretService
from tests.sandbox.nucleus.configuration import ConfigurationService
from tests.sandbox.nucleus.lifecycle import LifecycleService
from tests.sandbox.nucleus.messaging import MqttProxyService, PubSubService
from tests.sandbox.nucleus.model import (
    LITE_MAX_SUBOBJECTS,
    OPERATION_NAMESPACE,
    IpcError,
    Nucleus,
    Service,
    Stream,
)
from tests.sandbox.nucleus.records import JsonObject
from tests.sandbox.nucleus.rules import count_subobjects


class Operations:
    """The services of one nucleus. Not thread-safe: the server calls it under its lock."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus
        self.lifecycle = LifecycleService(nucleus)
        self.configuration = ConfigurationService(nucleus)
        self.pubsub = PubSubService(nucleus)
        self.mqtt_proxy = MqttProxyService(nucleus)
        self._services: tuple[Service, ...] = (
            self.lifecycle,
            self.configuration,
            self.pubsub,
            self.mqtt_proxy,
            CliService(nucleus),
            SecretService(nucleus),
        )

    def call(self, stream: Stream, operation: str, request: JsonObject) -> JsonObject:
        """Does an operation (short name) and returns its response. Raises IpcError.

        Lite's errors for what it lacks or can't decode have no text (`GGL_IPC_ERROR_DEFAULT`).
        """
        if self._nucleus.is_lite and count_subobjects(request) > LITE_MAX_SUBOBJECTS:
            raise IpcError("ServiceError")
        for service in self._services:
            handler = service.handlers().get(operation)
            if handler:
                return handler(stream, request)
        if self._nucleus.is_lite:
            raise IpcError("ServiceError")
        name = OPERATION_NAMESPACE + operation
        raise IpcError("ServiceError", f"Operation {name} is not supported by Greengrass")

    def close(self, stream: Stream) -> None:
        """Ends the stream's subscription, if it has one."""
        for service in self._services:
            service.close(stream)
