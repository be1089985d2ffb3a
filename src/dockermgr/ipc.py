"""The link to the nucleus: the only user of awsiotsdk.

One thread keeps a connection, sends what is in the outbox and connects again when the nucleus closes
it. What could not be sent is dropped with the connection: who is told of a new connection says the
current state again.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import awsiot.greengrasscoreipc
from awsiot.eventstreamrpc import LifecycleHandler
from awsiot.greengrasscoreipc import model
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.nucleus import Lifecycle, Listener, NucleusRefused, NucleusUnavailable

log = logging.getLogger(__name__)

SOCKET_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
TOKEN_VARIABLE = "SVCUID"  # noqa: S105  # the variable's name, not its value
CALL_TIMEOUT_SECONDS = 10.0
"""The nucleus answers from memory, in milliseconds; a device under load may be slow."""
RECONNECT_SECONDS = (0.2, 30.0)
"""First and longest wait; a nucleus that restarts is back within seconds."""
STATE_AGAIN_SECONDS = 2.0
MUTE_LIMIT = 3
"""So many calls in a row without an answer, and the connection is taken for dead."""


class NucleusLink:
    """Keeps the connection of this component. Every method may be called from any thread."""

    def __init__(
        self,
        listener: Listener,
        *,
        status_request_topic: str,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Raises KeyError, with the variable's name, outside Greengrass."""
        for name in (SOCKET_VARIABLE, TOKEN_VARIABLE):
            if not environment.get(name):
                raise KeyError(name)
        self._socket_path = environment[SOCKET_VARIABLE]
        self._token = environment[TOKEN_VARIABLE]
        self._listener = listener
        self._status_request_topic = status_request_topic
        self._condition = threading.Condition()
        self._outbox: OrderedDict[str, Callable[[Any], Any]] = OrderedDict()
        self._client: Any = None
        self._watch = _ConnectionWatch(self._wake)
        self._stopping = False
        self._complained: set[str] = set()
        self._mute_calls = 0
        self._thread = threading.Thread(target=self._run, name="ipc", daemon=True)

    def start(self) -> None:
        """Begins to connect."""
        self._thread.start()

    def stop(self, flush_seconds: float) -> None:
        """Sends what is in the outbox if that takes no longer than `flush_seconds`, and disconnects."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        self._thread.join(flush_seconds)

    def publish_to_iot_core(self, topic: str, message: Mapping[str, object], *, key: str) -> None:
        """Sends `message` to AWS IoT Core with QoS 1; the nucleus spools it while it is offline."""
        payload = json.dumps(message, separators=(",", ":")).encode()
        self._put(
            f"{topic} {key}",
            lambda client: client.publish_to_iot_core_async(
                topic_name=topic, qos=model.QOS.AT_LEAST_ONCE, payload=payload
            ),
        )

    def update_state(self, state: Lifecycle) -> None:
        """Reports the component's state; tried again until the nucleus takes it."""
        self._put("state", lambda client: client.update_state_async(state=state.value))

    def publish(self, topic: str, message: Mapping[str, object], *, key: str) -> None:
        """Sends `message` on the local topic; a newer message of the same key replaces one that waits."""
        body = model.PublishMessage(json_message=model.JsonMessage(message=dict(message)))
        self._put(
            f"{topic} {key}",
            lambda client: client.publish_to_topic_async(topic=topic, publish_message=body),
        )

    def get_configuration(self, component: str | None, key_path: tuple[str, ...]) -> object:
        """The value at `key_path` of a component's configuration (None: our own); None where absent.

        Raises NucleusUnavailable, and NucleusRefused for what the nucleus cannot give: Lite can
        decode, and send, only so much in one message.
        """
        try:
            answer = self._call(
                lambda client: client.get_configuration_async(
                    component_name=component, key_path=list(key_path)
                )
            )
        except model.ResourceNotFoundError:
            return None
        except model.GreengrassCoreIPCError as error:
            raise NucleusRefused(_words(error)) from error
        except Exception as error:
            raise NucleusUnavailable(_words(error)) from error
        value = answer.value
        # The value of a single key arrives under its name (Java) or under "leaf" (Lite).
        if key_path and isinstance(value, dict) and len(value) == 1:
            name, inner = next(iter(value.items()))
            if name in {key_path[-1], "leaf"}:
                return inner
        return value

    def get_secret(self, arn: str) -> str:
        """The text of a Secrets Manager secret. Raises CREDENTIAL_ENDPOINT_SERVER_ERROR and its like.

        Only the Java nucleus has secrets, while `aws.greengrass.SecretManager` is deployed with them.
        """
        hint = (
            "deploy aws.greengrass.SecretManager (Java nucleus) with this secret in cloudSecrets, and"
            " allow aws.greengrass#GetSecretValue for it in this component's accessControl"
        )
        try:
            answer = self._call(lambda client: client.get_secret_value_async(secret_id=arn))
        except model.GreengrassCoreIPCError as error:
            raise DockermgrError(
                ErrorCode.CREDENTIAL_ENDPOINT_AUTH_FAILURE,
                f"the nucleus does not hand over secret {arn}: {_words(error)}",
                hint=hint,
                retry=Retry.LIMITED,
            ) from error
        except Exception as error:
            raise DockermgrError(
                ErrorCode.CREDENTIAL_ENDPOINT_SERVER_ERROR,
                f"the nucleus did not answer for secret {arn}: {_words(error)}",
                hint="is the nucleus running?",
                retry=Retry.UNTIL_MENDED,
            ) from error
        return str(answer.secret_value.secret_string or "")

    def follow_configuration(self, component: str | None) -> None:
        """From now on, on this connection, changes of that configuration are told to the listener.

        Raises NucleusUnavailable.
        """

        def subscribe(client: Any) -> Any:
            future, _ = client.subscribe_to_configuration_update_async(
                component_name=component,
                key_path=[],
                on_stream_event=lambda _: self._listener.configuration_changed(component),
                on_stream_error=_keep_stream,
            )
            return future

        try:
            self._call(subscribe)
        except model.ResourceNotFoundError:
            log.info("no such component to follow yet component=%s", component)
        except Exception as error:
            raise NucleusUnavailable(_words(error)) from error

    def _call(self, operation: Callable[[Any], Any]) -> Any:
        client = self._client
        if client is None:
            raise NucleusUnavailable("not connected")
        try:
            answer = operation(client).result(CALL_TIMEOUT_SECONDS)
        except Exception as error:
            self._note_silence(error)
            raise
        self._mute_calls = 0
        return answer

    def _note_silence(self, error: Exception) -> None:
        """A connection on which nothing is answered is given up: a new one may work."""
        if isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutError":
            self._mute_calls += 1
            if self._mute_calls >= MUTE_LIMIT:
                log.warning("the nucleus does not answer calls=%d", self._mute_calls)
                self._watch.lost = True
                self._wake()

    def _put(self, key: str, operation: Callable[[Any], Any]) -> None:
        with self._condition:
            self._outbox.pop(key, None)
            self._outbox[key] = operation
            self._condition.notify_all()

    def _run(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                client = self._connect()
            except Exception as error:  # noqa: BLE001  # whatever it is, the remedy is to try again
                failures += 1
                if failures == 1 or failures % 20 == 0:
                    log.warning("no IPC connection attempts=%d error=%s", failures, _words(error))
            else:
                failures = 0
                try:
                    self._serve(client)
                except Exception:  # nobody else would connect again
                    log.exception("the IPC link broke, connecting again")
            first, longest = RECONNECT_SECONDS
            pause = min(longest, first * 2 ** min(failures, 10)) * random.uniform(0.5, 1)  # noqa: S311
            with self._condition:
                if not self._stopping:
                    self._condition.wait_for(lambda: self._stopping, pause)

    def _connect(self) -> Any:
        self._watch = _ConnectionWatch(self._wake)
        connection = awsiot.greengrasscoreipc.connect(
            ipc_socket=self._socket_path,
            authtoken=self._token,
            lifecycle_handler=self._watch,
            timeout=CALL_TIMEOUT_SECONDS,
        )
        # No executor: the listener only hands on, and threads cost memory.
        return GreengrassCoreIPCClientV2(client=connection, executor=None)

    def _serve(self, client: Any) -> None:
        with self._condition:
            self._outbox.clear()
            self._client = client
            self._mute_calls = 0
        log.info("connected to the nucleus")
        try:
            if self._status_request_topic:
                self._listen_for_requests(client)
            self._listener.connected()
            while self._wait_for_work():
                self._send_one(client)
        finally:
            self._client = None
            client.close()
        if not self._stopping:
            log.warning("the nucleus closed the IPC connection, connecting again")

    def _wait_for_work(self) -> bool:
        """True when there is something to send; False when the connection is at its end."""
        with self._condition:
            self._condition.wait_for(lambda: self._outbox or self._watch.lost or self._stopping)
            return bool(self._outbox) and not self._watch.lost

    def _send_one(self, client: Any) -> None:
        with self._condition:
            if not self._outbox:
                return
            key, operation = self._outbox.popitem(last=False)
        try:
            operation(client).result(CALL_TIMEOUT_SECONDS)
            self._mute_calls = 0
        except Exception as error:  # noqa: BLE001  # none of them may end the link
            self._not_sent(key, operation, error)

    def _not_sent(self, key: str, operation: Callable[[Any], Any], error: Exception) -> None:
        self._note_silence(error)
        subject = key.partition(" ")[0]
        if subject not in self._complained and not self._watch.lost:
            self._complained.add(subject)
            hint = ""
            if isinstance(error, model.UnauthorizedError):
                hint = f": allow publishing on {subject} in the component's accessControl"
            log.warning("the nucleus did not take %s error=%s%s", subject, _words(error), hint)
        if key == "state":
            with self._condition:
                self._outbox.setdefault(key, operation)
                if not self._stopping:
                    self._condition.wait_for(
                        lambda: self._watch.lost or self._stopping, STATE_AGAIN_SECONDS
                    )

    def _listen_for_requests(self, client: Any) -> None:
        try:
            # A connection that is closed by now raises at once, not in the future.
            future, _ = client.subscribe_to_topic_async(
                topic=self._status_request_topic,
                on_stream_event=lambda _: self._listener.status_requested(),
                on_stream_error=_keep_stream,
            )
            future.result(CALL_TIMEOUT_SECONDS)
        except Exception as error:  # noqa: BLE001  # requests are a convenience
            if self._status_request_topic not in self._complained:
                self._complained.add(self._status_request_topic)
                log.warning(
                    "requests are not answered topic=%s error=%s",
                    self._status_request_topic, _words(error),
                )  # fmt: skip

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()


class _ConnectionWatch(LifecycleHandler):  # type: ignore[misc]  # awsiotsdk has no types
    """Belongs to one connection, so that a late word of an old one does not end a new one."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.lost = False
        self._wake = wake

    def on_disconnect(self, reason: Exception | None) -> None:  # noqa: ARG002
        self.lost = True
        self._wake()

    def on_error(self, error: Exception) -> bool:
        log.warning("IPC protocol error error=%s", _words(error))
        return True


def _keep_stream(error: Exception) -> bool:
    log.warning("an IPC event could not be read error=%s", _words(error))
    return False


def _words(error: BaseException) -> str:
    """Against Lite the SDK's `message` is None, and the type is all there is."""
    text = getattr(error, "message", None) or str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
