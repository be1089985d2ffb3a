"""A token exchange service (TES) for tests: credentials over HTTP, as a nucleus gives them out.

The answers were read from the sources: Java's `CredentialRequestHandler` and `HttpServerImpl`,
Lite's `tes-serverd/src/http_server.c`. Java's HTTP server sends no Content-Type, and Lite's
(libevent) calls everything HTML, so a client that looks at it will not work on a device; nor does
it here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

from tests.sandbox.nucleus.model import Dialect
from tests.sandbox.secrets import SECRETS

CREDENTIALS_PATH = "/2016-11-01/credentialprovider/"

LITE_TOKEN_LENGTH = 16
"""Lite compares no token of another length (`request_handler` in `http_server.c`)."""

_LIFETIME = timedelta(hours=1)
"""The default of an IoT role alias."""

_LIBEVENT_CONTENT_TYPE = "text/html; charset=ISO-8859-1"
"""What libevent writes where its application names no type."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary AWS credentials. They are made up: no AWS takes them."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: datetime

    @classmethod
    def generate(cls, lifetime: timedelta = _LIFETIME) -> Credentials:
        """New keys of the usual shape, good for `lifetime`."""
        made = cls(
            access_key_id="ASIA" + secrets.token_hex(8).upper(),
            secret_access_key=secrets.token_urlsafe(30),
            token=secrets.token_urlsafe(200),
            expires_at=datetime.now(timezone.utc) + lifetime,
        )
        SECRETS.add("the access key id of TES", made.access_key_id)
        SECRETS.add("the secret access key of TES", made.secret_access_key)
        SECRETS.add("the session token of TES", made.token)
        return made

    def as_json(self) -> bytes:
        """The document that TES answers, with a key for each."""
        return json.dumps(
            {
                "AccessKeyId": self.access_key_id,
                "SecretAccessKey": self.secret_access_key,
                "Token": self.token,
                "Expiration": self.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        ).encode()


class _FaultKind(Enum):
    ANSWER = "answer"
    SLOW = "slow"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class TesFault:
    """What happens to requests with a good token, in place of the right answer."""

    kind: _FaultKind
    code: int = 200
    body: bytes = b""
    delay_seconds: float = 0.0

    @classmethod
    def null_body(cls) -> TesFault:
        """200 with the body `null`: Lite's answer when the cloud gave it no credentials."""
        return cls(_FaultKind.ANSWER, body=b"null")

    @classmethod
    def status(cls, code: int, text: str = "") -> TesFault:
        """A status with a text: Java passes on the cloud's own, besides 500 and 504 of its own."""
        return cls(_FaultKind.ANSWER, code, text.encode())

    @classmethod
    def garbage(cls) -> TesFault:
        """200 with a body that is no JSON."""
        return cls(_FaultKind.ANSWER, body=b'{"AccessKeyId": "ASIA\xff')

    @classmethod
    def slow(cls, seconds: float) -> TesFault:
        """The right answer, `seconds` late."""
        return cls(_FaultKind.SLOW, delay_seconds=seconds)

    @classmethod
    def closed(cls) -> TesFault:
        """The connection is closed without an answer."""
        return cls(_FaultKind.CLOSED)


@dataclass(frozen=True, slots=True)
class TesRequest:
    """A request that came, without its token. `status` is None if the connection was closed."""

    method: str
    path: str
    has_token: bool
    status: int | None
    at_seconds: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class _Answer:
    code: int
    body: bytes = b""


class TesServer:
    """TES on a free port of 127.0.0.1. `tokens` are the SVCUIDs that it takes.

    `fault` and `credentials` may be set at any time, from any thread, and count from the next
    request on.
    """

    def __init__(
        self, dialect: Dialect, tokens: Iterable[str], credentials: Credentials | None = None
    ) -> None:
        self.dialect = dialect
        self.tokens = set(tokens)
        if dialect is Dialect.LITE and any(
            len(token) != LITE_TOKEN_LENGTH for token in self.tokens
        ):
            raise ValueError(f"Lite's tokens have {LITE_TOKEN_LENGTH} characters")
        self.credentials = credentials or Credentials.generate()
        self.fault: TesFault | None = None
        self._requests: list[TesRequest] = []
        self._stopping = threading.Event()
        self._http: _HttpServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> TesServer:
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
        """Listens; returns when clients can connect. After a restart the port is another."""
        if self._http is not None:
            raise RuntimeError("the TES server runs already")
        self._stopping.clear()
        self._http = _HttpServer(self)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, name="sandbox-tes"
        )
        self._thread.start()

    def stop(self) -> None:
        """Closes all connections and the port; leaves no thread."""
        if self._http is None or self._thread is None:
            return
        self._stopping.set()
        self._http.shutdown()
        self._http.cut_connections()
        self._http.server_close()
        self._thread.join()
        self._http = self._thread = None

    @property
    def port(self) -> int:
        """The port that it listens on; raises RuntimeError while it is stopped."""
        if self._http is None:
            raise RuntimeError("the TES server is stopped")
        return self._http.server_port

    @property
    def uri(self) -> str:
        """What the nucleus puts into AWS_CONTAINER_CREDENTIALS_FULL_URI: it says `localhost`, as a
        device does.
        """
        return f"http://localhost:{self.port}{CREDENTIALS_PATH}"

    def environment(self, token: str) -> dict[str, str]:
        """The variables with which a component that has `token` finds its credentials."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.uri,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }

    @property
    def requests(self) -> list[TesRequest]:
        """What came, in order."""
        return list(self._requests)

    def rotate(self, lifetime: timedelta = _LIFETIME) -> Credentials:
        """New keys from now on; returns them."""
        self.credentials = Credentials.generate(lifetime)
        return self.credentials

    def record(self, request: TesRequest) -> None:
        """Keeps what came, for `requests`."""
        self._requests.append(request)

    def answer(self, method: str, path: str, token: str | None) -> _Answer | None:
        """The answer to a request; None closes the connection. A slow answer waits here."""
        refusal = self._refuse_on_java if self.dialect is Dialect.JAVA else self._refuse_on_lite
        refused = refusal(method, path, token)
        if refused:
            return refused
        fault = self.fault
        if fault is None:
            return _Answer(200, self.credentials.as_json())
        if fault.kind is _FaultKind.CLOSED:
            return None
        if fault.kind is _FaultKind.SLOW:
            self._stopping.wait(fault.delay_seconds)
            return _Answer(200, self.credentials.as_json())
        return _Answer(fault.code, fault.body)

    def _refuse_on_java(self, method: str, path: str, token: str | None) -> _Answer | None:
        """Java's own errors have no body; a path elsewhere never gets to its handler."""
        if not path.startswith(CREDENTIALS_PATH):
            return _Answer(404, b"<h1>404 Not Found</h1>No context found for request")
        if method != "GET":
            return _Answer(405)
        if path != CREDENTIALS_PATH:
            return _Answer(400)
        return None if token in self.tokens else _Answer(403)

    def _refuse_on_lite(self, method: str, path: str, token: str | None) -> _Answer | None:
        """Lite never looks at the method."""
        if path != CREDENTIALS_PATH:
            return _Answer(400, f"Only {CREDENTIALS_PATH} uri is supported.".encode())
        if token is None:
            return _Answer(400, b"Authorization header is needed to process the request.")
        if len(token) != LITE_TOKEN_LENGTH:
            return _Answer(400, b"SVCUID length must be exactly 16.")
        return None if token in self.tokens else _Answer(404, b"No such svcuid present.")


class _HttpServer(ThreadingHTTPServer):
    """The HTTP side. Its threads end with it, even those that wait for the next request of an idle
    client.
    """

    daemon_threads = False
    block_on_close = True

    def __init__(self, tes: TesServer) -> None:
        self.tes = tes
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        request, address = super().get_request()
        with self._lock:
            self._open.add(request)
        return request, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._lock:
            self._open.discard(request if isinstance(request, socket.socket) else request[1])
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        """Wakes the threads that read from clients."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        _LOG.debug("the client of %s went before its answer", request, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    server: _HttpServer

    def _handle(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        token = self.headers.get("Authorization")
        answer = self.server.tes.answer(self.command, path, token)
        status = answer.code if answer else None
        self.server.tes.record(TesRequest(self.command, path, token is not None, status))
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.code)
        if self.server.tes.dialect is Dialect.LITE:
            self.send_header("Content-Type", _LIBEVENT_CONTENT_TYPE)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        _LOG.debug(format, *args)
