"""The messaging services: among components, and the proxy to AWS IoT Core."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Literal

from tests.sandbox.nucleus.model import (
    LITE_MAX_TOPIC_BYTES,
    Handler,
    IpcError,
    Nucleus,
    Stream,
    text,
)
from tests.sandbox.nucleus.records import JsonObject, PublishedMessage
from tests.sandbox.nucleus.rules import authorize, has_mqtt_wildcard, topic_matches

PUBSUB_SERVICE = "aws.greengrass.ipc.pubsub"
MQTT_PROXY_SERVICE = "aws.greengrass.ipc.mqttproxy"


@dataclass(frozen=True, slots=True)
class _Subscription:
    topic_filter: str
    others_only: bool = False


class _Subscriptions:
    """Who listens to which topics."""

    def __init__(self) -> None:
        self._by_stream: dict[Stream, _Subscription] = {}

    def add(self, stream: Stream, subscription: _Subscription) -> None:
        self._by_stream[stream] = subscription

    def close(self, stream: Stream) -> None:
        self._by_stream.pop(stream, None)

    def deliver(self, topic: str, model: str, event: JsonObject, source: str = "") -> int:
        """Sends an event to all whose filter takes the topic; returns how many they are."""
        streams = [
            stream
            for stream, subscription in self._by_stream.items()
            if topic_matches(subscription.topic_filter, topic)
            and not (subscription.others_only and stream.component.name == source)
        ]
        for stream in streams:
            stream.send_event(model, event)
        return len(streams)


class PubSubService:
    """`PubSubIPCEventStreamAgent` of Java, `ggipcd/src/services/pubsub` and `ggpubsubd` of Lite."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus
        self._subscriptions = _Subscriptions()

    def handlers(self) -> dict[str, Handler]:
        return {"PublishToTopic": self._publish, "SubscribeToTopic": self._subscribe}

    def close(self, stream: Stream) -> None:
        self._subscriptions.close(stream)

    def deliver(self, source: str, topic: str, payload: bytes | JsonObject) -> int:
        """Hands a message of component `source` to its subscribers; returns how many they are."""
        context = {"topic": topic}
        event: JsonObject
        if isinstance(payload, bytes):
            encoded = base64.b64encode(payload).decode()
            event = {"binaryMessage": {"message": encoded, "context": context}}
        else:
            event = {"jsonMessage": {"message": payload, "context": context}}
        return self._subscriptions.deliver(topic, "SubscriptionResponseMessage", event, source)

    def _publish(self, stream: Stream, request: JsonObject) -> JsonObject:
        topic = text(request, "topic")
        payload = _published_payload(request.get("publishMessage"))
        authorize(self._nucleus, stream.component, PUBSUB_SERVICE, "PublishToTopic", topic)
        if self._nucleus.is_lite and len(topic.encode()) > LITE_MAX_TOPIC_BYTES:
            raise IpcError("ServiceError", "Failed to publish the message.")
        if not self._nucleus.is_lite and any(wildcard in topic for wildcard in "+#*"):
            raise IpcError("InvalidArgumentsError", "Publish topic must not contain a wildcard.")
        kind: Literal["json", "binary"] = "binary" if isinstance(payload, bytes) else "json"
        source = stream.component.name
        self._nucleus.timeline.add(PublishedMessage(source, topic, payload, kind, "local"))
        self.deliver(source, topic, payload)
        return {}

    def _subscribe(self, stream: Stream, request: JsonObject) -> JsonObject:
        topic_filter = text(request, "topic")
        authorize(self._nucleus, stream.component, PUBSUB_SERVICE, "SubscribeToTopic", topic_filter)
        if not topic_filter:
            if self._nucleus.is_lite:
                raise IpcError("ServiceError", "Failed to bind subscription.")
            raise IpcError("InvalidArgumentsError", "Subscribe topic must not be empty")
        others_only = not self._nucleus.is_lite and _wants_others_only(request, topic_filter)
        self._subscriptions.add(stream, _Subscription(topic_filter, others_only))
        return {}


class MqttProxyService:
    """Java's `MqttProxyIPCAgent`, Lite's `services/mqttproxy`; the cloud takes everything."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus
        self._subscriptions = _Subscriptions()

    def handlers(self) -> dict[str, Handler]:
        return {"PublishToIoTCore": self._publish, "SubscribeToIoTCore": self._subscribe}

    def close(self, stream: Stream) -> None:
        self._subscriptions.close(stream)

    def deliver(self, topic: str, payload: bytes) -> int:
        """Hands a message of AWS IoT Core to its subscribers; returns how many they are."""
        message = {"topicName": topic, "payload": base64.b64encode(payload).decode()}
        return self._subscriptions.deliver(topic, "IoTCoreMessage", {"message": message})

    def _publish(self, stream: Stream, request: JsonObject) -> JsonObject:
        topic = text(request, "topicName")
        authorize(self._nucleus, stream.component, MQTT_PROXY_SERVICE, "PublishToIoTCore", topic)
        if not self._nucleus.is_lite and request.get("payload") is None:
            raise IpcError("InvalidArgumentsError", "Payload is required")
        payload = _base64(request.get("payload") or "")
        message = PublishedMessage(
            stream.component.name, topic, payload, "binary", "iotcore", self._qos(request)
        )
        self._nucleus.timeline.add(message)
        self.deliver(topic, payload)
        return {}

    def _subscribe(self, stream: Stream, request: JsonObject) -> JsonObject:
        topic = text(request, "topicName")
        authorize(self._nucleus, stream.component, MQTT_PROXY_SERVICE, "SubscribeToIoTCore", topic)
        self._qos(request)
        self._subscriptions.add(stream, _Subscription(topic))
        return {}

    def _qos(self, request: JsonObject) -> int:
        """The request's QoS. Java wants "0" or "1"; Lite takes 2 as well, and nothing for 0."""
        qos = request.get("qos")
        if self._nucleus.is_lite:
            if qos not in (None, "0", "1", "2", 0, 1, 2):
                raise IpcError("ServiceError", "'qos' not a valid value.")
        elif qos is None:
            raise IpcError("InvalidArgumentsError", "QoS is required")
        elif qos not in ("0", "1"):
            raise IpcError("InvalidArgumentsError", f"Invalid QoS value: {qos}")
        return int(qos or 0)


def _wants_others_only(request: JsonObject, topic_filter: str) -> bool:
    """Java gives a subscriber its own messages, through a wildcard only if it asks for them."""
    mode = request.get("receiveMode")
    if mode is None:
        return has_mqtt_wildcard(topic_filter)
    return bool(mode == "RECEIVE_MESSAGES_FROM_OTHERS")


def _published_payload(message: object) -> bytes | JsonObject:
    if isinstance(message, dict) and len(message) == 1:
        kind, content = next(iter(message.items()))
        value = content.get("message") if isinstance(content, dict) else None
        if kind == "jsonMessage" and isinstance(value, dict):
            return value
        if kind == "binaryMessage" and isinstance(value, str):
            return _base64(value)
    raise IpcError("ServiceError", "Received invalid parameters.")


def _base64(value: object) -> bytes:
    try:
        return base64.b64decode(str(value), validate=True)
    except binascii.Error as error:
        raise IpcError("ServiceError", "'payload' is not valid base64.") from error
