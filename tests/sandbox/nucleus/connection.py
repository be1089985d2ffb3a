"""One client's connection to the IPC test server: its handshake, its calls, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from typing import Literal, Protocol

from tests.sandbox.eventstream import (
    PRELUDE_BYTES,
    Frame,
    FrameError,
    HeaderValue,
    MessageFlag,
    MessageType,
    decode,
    encode,
    frame_length,
)
from tests.sandbox.nucleus.model import (
    LITE_MAX_MESSAGE_BYTES,
    OPERATION_NAMESPACE,
    Component,
    Dialect,
    IpcError,
)
from tests.sandbox.nucleus.records import ConnectionEvent, JsonObject

_PROTOCOL_VERSION = "0.1.0"

_JAVA_MAX_FRAME_BYTES = 16 * 1024 * 1024
"""The event-stream library's limit (`AWS_EVENT_STREAM_MAX_MESSAGE_SIZE` of aws-c-event-stream)."""

_LINGER_SECONDS = 1.0
"""How long a refused client has to go by itself, as the SDK does at once."""

_CLIENT_LEFT = "the client left"

_LOG = logging.getLogger(__name__)


class ConnectionOwner(Protocol):
    """What a connection needs of its server."""

    dialect: Dialect

    def authenticate(self, auth_token: str) -> Component | None:
        """The component that this token was given to."""

    def handle_call(self, stream: ConnectionStream, operation: str, request: JsonObject) -> None:
        """Does a call and answers it through the stream."""

    def handle_stream_closed(self, stream: ConnectionStream) -> None:
        """The stream takes no more events."""

    def handle_connected(self, component: Component) -> None:
        """The component's connection was accepted."""


class _ProtocolError(Exception):
    """The client did what a nucleus answers by closing the connection."""


class _RefusedError(_ProtocolError):
    """The client may not connect."""


@dataclass(eq=False, frozen=True)
class ConnectionStream:
    """One call; answers and events go back through it."""

    connection: Connection
    component: Component
    stream_id: int

    def respond(self, operation: str, payload: JsonObject) -> None:
        """Sends the call's response. Raises IpcError if it is too long for Lite's buffer."""
        # Java ends the stream with a response that no events will follow; Lite never does.
        is_last = self.connection.dialect is Dialect.JAVA and not _has_events(operation)
        frame = self._frame(
            MessageType.APPLICATION_MESSAGE,
            f"{operation}Response",
            payload,
            MessageFlag.TERMINATE_STREAM if is_last else MessageFlag.NONE,
        )
        if not self.connection.send(frame):
            raise IpcError("ServiceError")
        if _has_events(operation):
            self.connection.keep_open(self)

    def send_event(self, model: str, payload: JsonObject) -> None:
        """Sends an event of a subscription; Lite skips one that is too long for its buffer."""
        if not self.connection.send(self._frame(MessageType.APPLICATION_MESSAGE, model, payload)):
            _LOG.warning("skipped a %s for %s: too long", model, self.component.name)

    def fail(self, error: IpcError) -> None:
        """Answers an error, which ends the stream on either nucleus."""
        if self.connection.dialect is Dialect.LITE:
            payload = {"_message": error.message, "_errorCode": error.name}
        else:
            payload = {
                "message": error.message,
                "_message": error.message,
                "_service": f"{OPERATION_NAMESPACE}GreengrassCoreIPC",
                "_errorCode": error.name,
            }
        self.connection.send(
            self._frame(
                MessageType.APPLICATION_ERROR, error.name, payload, MessageFlag.TERMINATE_STREAM
            )
        )

    def _frame(
        self,
        message_type: MessageType,
        model: str,
        payload: JsonObject,
        flags: MessageFlag = MessageFlag.NONE,
    ) -> Frame:
        headers: dict[str, HeaderValue] = {
            ":content-type": "application/json",
            "service-model-type": OPERATION_NAMESPACE + model,
        }
        return Frame.message(
            message_type,
            stream_id=self.stream_id,
            flags=flags,
            headers=headers,
            payload=json.dumps(payload, separators=(",", ":")).encode(),
        )


class Connection:
    """A client's connection, in the server's loop; any thread may call `send` and `drop`."""

    def __init__(
        self, owner: ConnectionOwner, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.dialect = owner.dialect
        self.component: Component | None = None
        self._owner = owner
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, ConnectionStream] = {}
        self._close_reason = ""

    async def run(self) -> ConnectionEvent:
        """Serves the client until either side has enough; returns how it ended."""
        try:
            self.component = self._connect(await self._read())
            self._owner.handle_connected(self.component)
            while True:
                self._handle(self.component, await self._read())
        except _RefusedError as error:
            await self._linger()
            end = self._end("refused", str(error))
        except (FrameError, _ProtocolError, OSError, asyncio.IncompleteReadError) as error:
            end = self._end("closed", self._close_reason or _describe(error))
        finally:
            for stream in self._streams.values():
                self._owner.handle_stream_closed(stream)
            await self._close()
        return end

    async def refuse(self, reason: str) -> ConnectionEvent:
        """Closes the connection without having listened to the client."""
        await self._close()
        return self._end("refused", reason)

    def send(self, frame: Frame) -> bool:
        """Queues a frame. False: Lite has no room for it."""
        data = encode(frame)
        if self.dialect is Dialect.LITE and len(data) > LITE_MAX_MESSAGE_BYTES:
            return False
        self._loop.call_soon_threadsafe(self._write, data)
        return True

    def keep_open(self, stream: ConnectionStream) -> None:
        """Remembers a stream for its events, until the client cancels it or goes."""
        self._streams[stream.stream_id] = stream

    def drop(self, reason: str) -> None:
        """Cuts the connection at once, as the death of a nucleus does."""
        self._close_reason = reason
        self._loop.call_soon_threadsafe(self._writer.transport.abort)

    def _write(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    async def _read(self) -> Frame:
        prelude = await self._reader.readexactly(PRELUDE_BYTES)
        length = frame_length(prelude)
        # Lite reads all but the prelude into its buffer.
        if self.dialect is Dialect.LITE and length - PRELUDE_BYTES > LITE_MAX_MESSAGE_BYTES:
            raise _ProtocolError(f"a message of {length} bytes is too long for Lite")
        if length > _JAVA_MAX_FRAME_BYTES:
            raise _ProtocolError(f"a message of {length} bytes is too long")
        return decode(prelude + await self._reader.readexactly(length - PRELUDE_BYTES))

    async def _linger(self) -> None:
        """Lets the client read why it is refused: the SDK may see a close first, and the answer never."""
        if self.dialect is Dialect.JAVA:
            with contextlib.suppress(asyncio.TimeoutError, OSError):
                await asyncio.wait_for(self._reader.read(), _LINGER_SECONDS)

    async def _close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _connect(self, frame: Frame) -> Component:
        if frame.message_type != MessageType.CONNECT or frame.stream_id != 0:
            raise _RefusedError("the first message was not a connect message")
        component = self._authenticated(frame)
        if component is None:
            if self.dialect is Dialect.JAVA:
                self._write(encode(Frame.message(MessageType.CONNECT_ACK, stream_id=0)))
            raise _RefusedError("unknown auth token or protocol version")
        self.send(
            Frame.message(
                MessageType.CONNECT_ACK, stream_id=0, flags=MessageFlag.CONNECTION_ACCEPTED
            )
        )
        return component

    def _authenticated(self, frame: Frame) -> Component | None:
        request = _json_object(frame.payload) or {}
        token = request.get("authToken")
        if frame.headers.get(":version") != _PROTOCOL_VERSION or not isinstance(token, str):
            return None
        return self._owner.authenticate(token)

    def _handle(self, component: Component, frame: Frame) -> None:
        if frame.stream_id == 0:
            self._handle_protocol_message(frame)
        elif MessageFlag.TERMINATE_STREAM in frame.flags:
            stream = self._streams.pop(frame.stream_id, None)
            if stream:
                self._owner.handle_stream_closed(stream)
        elif frame.stream_id not in self._streams:
            stream = ConnectionStream(self, component, frame.stream_id)
            request = _json_object(frame.payload)
            if request is None:
                stream.fail(IpcError("ServiceError", "Received invalid parameters."))
                return
            operation = frame.text("operation").removeprefix(OPERATION_NAMESPACE)
            self._owner.handle_call(stream, operation, request)

    def _handle_protocol_message(self, frame: Frame) -> None:
        """Java answers pings; Lite closes on any of these (`handle_operation`)."""
        if self.dialect is Dialect.LITE or frame.message_type not in (
            MessageType.PING,
            MessageType.PING_RESPONSE,
        ):
            raise _ProtocolError(f"message of type {frame.message_type} on stream 0")
        if frame.message_type == MessageType.PING:
            self.send(Frame.message(MessageType.PING_RESPONSE, stream_id=0, payload=frame.payload))

    def _end(self, event: Literal["refused", "closed"], reason: str) -> ConnectionEvent:
        name = self.component.name if self.component else ""
        level = logging.INFO if reason in (_CLIENT_LEFT, self._close_reason) else logging.WARNING
        _LOG.log(
            level, "ipc connection %s: component=%s reason=%s", event, name or "unknown", reason
        )
        return ConnectionEvent(name, event, reason)


def _has_events(operation: str) -> bool:
    return operation.startswith("SubscribeTo")


def _json_object(payload: bytes) -> JsonObject | None:
    try:
        document = json.loads(payload)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _describe(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "the client left in mid-message" if error.partial else _CLIENT_LEFT
    return str(error) or type(error).__name__
