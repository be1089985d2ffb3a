"""A stream manager for tests: its protocol on a port of 127.0.0.1, without uploads.

As the SDK speaks it: a byte with the version, then frames of a big-endian length, one byte that names the
operation, and a CBOR map. The operations' numbers are the SDK's own.
"""

from __future__ import annotations

import json
import socketserver
import struct
import threading
from collections.abc import Callable
from typing import Any

import cbor2
from stream_manager.data import Operation, ResponseStatusCode, VersionInfo

_CONNECT_VERSION = b"\x01"


class StreamManager:
    """Keeps what is appended to its streams. A context manager; `tokens` are the SVCUIDs it takes."""

    def __init__(self, port: int, tokens: set[str]) -> None:
        self.port = port
        self.tokens = tokens
        self.streams: dict[str, list[bytes]] = {}
        self._answers: dict[Operation, tuple[Operation, Callable[[Any], dict[str, Any]]]] = {
            Operation.ListStreams: (Operation.ListStreamsResponse, self._list),
            Operation.CreateMessageStream: (Operation.CreateMessageStreamResponse, self._create),
            Operation.AppendMessage: (Operation.AppendMessageResponse, self._append),
        }
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.manager = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> StreamManager:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def tasks(self, stream: str) -> list[dict[str, Any]]:
        """The messages of a stream, which are JSON where they are tasks."""
        return [json.loads(message) for message in self.streams.get(stream, [])]

    def connect(self, request: Any) -> dict[str, Any]:
        """The answer to a client's first message."""
        taken = request.get("authToken") in self.tokens
        status = ResponseStatusCode.Success if taken else ResponseStatusCode.Unauthorized
        version = VersionInfo.PROTOCOL_VERSION.value
        return {
            "requestId": request["requestId"],
            "status": status.value,
            "protocolVersion": version,
            "supportedProtocolVersions": [version],
            "serverVersion": version,
        }

    def answer(self, operation: Operation, request: Any) -> tuple[Operation, dict[str, Any]]:
        """The answer to any other one."""
        kind, act = self._answers[operation]
        success = {"requestId": request["requestId"], "status": ResponseStatusCode.Success.value}
        return kind, {**success, **act(request)}

    def _list(self, _request: Any) -> dict[str, Any]:
        return {"streams": list(self.streams)}

    def _create(self, request: Any) -> dict[str, Any]:
        self.streams[request["definition"]["name"]] = []
        return {}

    def _append(self, request: Any) -> dict[str, Any]:
        messages = self.streams[request["name"]]
        messages.append(request["payload"])
        return {"sequenceNumber": len(messages) - 1}


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    manager: StreamManager


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.rfile.read(len(_CONNECT_VERSION))
        self.wfile.write(_CONNECT_VERSION)
        while header := self.rfile.read(5):
            length, number = struct.unpack(">iB", header)
            operation, request = Operation(number), cbor2.loads(self.rfile.read(length - 1))
            if operation is Operation.Connect:
                self._send(Operation.ConnectResponse, self.server.manager.connect(request))
            else:
                self._send(*self.server.manager.answer(operation, request))

    def _send(self, operation: Operation, answer: dict[str, Any]) -> None:
        payload = cbor2.dumps(answer)
        self.wfile.write(struct.pack(">iB", len(payload) + 1, operation.value) + payload)
