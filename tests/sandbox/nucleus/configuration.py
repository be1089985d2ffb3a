"""The configuration service: reading, merging, and telling subscribers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.sandbox.nucleus.model import (
    LITE_MAX_SUBOBJECTS,
    Handler,
    IpcError,
    KeyPath,
    Nucleus,
    Stream,
)
from tests.sandbox.nucleus.records import JsonObject
from tests.sandbox.nucleus.rules import (
    count_subobjects,
    find_value,
    merge_configuration,
    remove_configuration,
)


@dataclass(frozen=True, slots=True)
class _Subscription:
    component: str
    key_path: KeyPath


class ConfigurationService:
    """Java's `ConfigStoreIPCEventStreamAgent`, Lite's `services/config` and `ggconfigd`."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus
        self._subscriptions: dict[Stream, _Subscription] = {}

    def handlers(self) -> dict[str, Handler]:
        return {
            "GetConfiguration": self._get,
            "UpdateConfiguration": self._update,
            "SubscribeToConfigurationUpdate": self._subscribe,
        }

    def close(self, stream: Stream) -> None:
        self._subscriptions.pop(stream, None)

    def update(self, name: str, merge: Mapping[str, Any], reset: Iterable[KeyPath]) -> None:
        """Removes the `reset` paths of a configuration, merges, and tells the subscribers."""
        component = self._nucleus.components[name]
        for key_path in reset:
            if remove_configuration(component.configuration, key_path):
                self._tell_removed(name, key_path)
            if not key_path and self._nucleus.is_lite:
                component.access_control.clear()
        for changed in merge_configuration(component.configuration, merge):
            for stream, watched in self._subscribers(name):
                if changed[: len(watched)] == watched:
                    _send_event(stream, name, changed)

    def _tell_removed(self, name: str, removed: KeyPath) -> None:
        """Java tells of a removed key; Lite silently forgets who followed it.

        The latter is `delete_subscribers` in `ggconfigd/src/db_interface.c`.
        """
        for stream, watched in self._subscribers(name):
            if self._nucleus.is_lite:
                if watched[: len(removed)] == removed:
                    del self._subscriptions[stream]
            elif watched[: len(removed)] == removed or removed[: len(watched)] == watched:
                _send_event(stream, name, max(removed, watched, key=len))

    def _subscribers(self, name: str) -> list[tuple[Stream, KeyPath]]:
        return [
            (stream, subscription.key_path)
            for stream, subscription in self._subscriptions.items()
            if subscription.component == name
        ]

    def _get(self, stream: Stream, request: JsonObject) -> JsonObject:
        name = request.get("componentName") or stream.component.name
        key_path = _key_path(request)
        value = self._find(name, key_path)
        if not isinstance(value, dict):
            value = {key_path[-1]: value}
        if self._nucleus.is_lite and count_subobjects(value) > LITE_MAX_SUBOBJECTS:
            raise IpcError("ServiceError")
        return {"componentName": name, "value": value}

    def _update(self, stream: Stream, request: JsonObject) -> JsonObject:
        changes = request.get("valueToMerge")
        if request.get("timestamp") is None or not isinstance(changes, dict):
            raise IpcError("InvalidArgumentsError", "Received invalid parameters.")
        for key in reversed(_key_path(request)):
            changes = {key: changes}
        if "accessControl" in changes:
            raise IpcError(
                "InvalidArgumentsError",
                "Config update is not allowed for following field [accessControl]",
            )
        self.update(stream.component.name, changes, ())
        return {}

    def _subscribe(self, stream: Stream, request: JsonObject) -> JsonObject:
        name = request.get("componentName") or stream.component.name
        key_path = _key_path(request)
        self._find(name, key_path)
        self._subscriptions[stream] = _Subscription(name, key_path)
        return {}

    def _find(self, name: str, key_path: KeyPath) -> object:
        component = self._nucleus.components.get(name)
        tree = component.configuration_tree() if component else {}
        # Lite has no key for a configuration with nothing in it; Java has an empty map.
        if component is None or (self._nucleus.is_lite and not tree):
            raise IpcError("ResourceNotFoundError", "Key not found")
        try:
            return find_value(tree, key_path)
        except KeyError as error:
            raise IpcError("ResourceNotFoundError", "Key not found") from error


def _key_path(request: JsonObject) -> KeyPath:
    key_path = request.get("keyPath") or []
    if not isinstance(key_path, list) or not all(isinstance(key, str) for key in key_path):
        raise IpcError("ServiceError", "Received invalid parameters.")
    return tuple(key_path)


def _send_event(stream: Stream, component: str, key_path: KeyPath) -> None:
    event = {"componentName": component, "keyPath": list(key_path)}
    stream.send_event("ConfigurationUpdateEvents", {"configurationUpdateEvent": event})
