"""The lifecycle service: states of components, and what a deployment asks them."""

from __future__ import annotations

from tests.sandbox.nucleus.model import Handler, IpcError, Nucleus, Stream
from tests.sandbox.nucleus.records import JsonObject, StateReport

_REPORTABLE_STATES = frozenset({"RUNNING", "ERRORED"})
"""The states that a component may report (`ReportedLifecycleState` of the service model)."""


class LifecycleService:
    """`LifecycleIPCEventStreamAgent` of Java, `ggipcd/src/services/lifecycle` of Lite."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus
        self._update_subscribers: set[Stream] = set()
        self._validators: set[Stream] = set()

    def handlers(self) -> dict[str, Handler]:
        on_both: dict[str, Handler] = {"UpdateState": self._update_state}
        if self._nucleus.is_lite:
            return on_both
        return {
            **on_both,
            "SubscribeToComponentUpdates": self._subscribe_to_component_updates,
            "DeferComponentUpdate": self._defer_component_update,
            "SubscribeToValidateConfigurationUpdates": self._subscribe_to_validation,
            "SendConfigurationValidityReport": lambda _stream, _request: {},
        }

    def close(self, stream: Stream) -> None:
        self._update_subscribers.discard(stream)
        self._validators.discard(stream)

    def announce_update(self, deployment_id: str, *, nucleus_restarts: bool) -> int:
        """Tells subscribers that a component update is to come; returns how many they are."""
        event = {"deploymentId": deployment_id, "isGgcRestarting": nucleus_restarts}
        for stream in self._update_subscribers:
            stream.send_event("ComponentUpdatePolicyEvents", {"preUpdateEvent": event})
        return len(self._update_subscribers)

    def ask_validity(self, name: str, configuration: JsonObject, deployment_id: str) -> int:
        """Asks a component if a configuration is valid; returns how many subscriptions it has."""
        event = {"configuration": configuration, "deploymentId": deployment_id}
        asked = [stream for stream in self._validators if stream.component.name == name]
        for stream in asked:
            stream.send_event(
                "ValidateConfigurationUpdateEvents", {"validateConfigurationUpdateEvent": event}
            )
        return len(asked)

    def _update_state(self, stream: Stream, request: JsonObject) -> JsonObject:
        state = request.get("state")
        if state not in _REPORTABLE_STATES:
            raise IpcError("ServiceError", "Received invalid parameters.")
        stream.component.state = state
        self._nucleus.timeline.add(StateReport(stream.component.name, state))
        return {}

    def _subscribe_to_component_updates(self, stream: Stream, _request: JsonObject) -> JsonObject:
        self._update_subscribers.add(stream)
        return {}

    def _subscribe_to_validation(self, stream: Stream, _request: JsonObject) -> JsonObject:
        self._validators.add(stream)
        return {}

    def _defer_component_update(self, stream: Stream, request: JsonObject) -> JsonObject:
        names = {subscriber.component.name for subscriber in self._update_subscribers}
        if stream.component.name not in names:
            raise IpcError(
                "InvalidArgumentsError", "Component is not subscribed to component update events"
            )
        if request.get("deploymentId") is None:
            raise IpcError(
                "InvalidArgumentsError",
                "Cannot defer the update, the deployment ID provided was null",
            )
        return {}
