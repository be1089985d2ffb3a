"""AWS on this machine: moto does the work; a proxy before it counts calls and plays faults."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3

from tests.sandbox.certificates import Certificate
from tests.sandbox.processes import Process
from tests.sandbox.secrets import SECRETS

ACCOUNT = "123456789012"
REGION = "us-east-1"
ECR_USER = "AWS"
ECR_PASSWORD = f"{ACCOUNT}-auth-token"
"""What moto's GetAuthorizationToken always hands out. Its expiry lies in 2015."""

_ADDRESS = "127.0.0.1"
_PORT, _MOTO_PORT = 4566, 4567
_CHUNK_BYTES = 256 * 1024
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "date", "server"}
_SCOPE = re.compile(
    r"Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request"
)
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request to AWS. `action` is `GetAuthorizationToken` and so on; for S3 the HTTP method."""

    service: str
    action: str
    region: str
    access_key: str
    method: str
    path: str
    range: str = ""
    """The header of this name: downloads resume with it."""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Fault:
    """What the next `times` calls of an action get in place of moto's answer.

    Without `status` it is only a delay before that answer, or breaks it off.
    """

    action: str
    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    times: float = 1
    """How many calls it is for; `math.inf` for all."""
    service: str = ""
    """Of this service only, by its signing name; empty for any."""
    truncate_after_bytes: int | None = None
    """The connection ends within the body, whose announced length is the whole one."""
    stall_seconds: float = 0.0
    """How long it stays open and silent before that."""


class Aws:
    """ECR, S3, STS and Secrets Manager at `endpoint_url`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.process = Process(
            "moto",
            [sys.executable, "-m", "moto.server", "-H", _ADDRESS, "-p", str(_MOTO_PORT)],
            log=folder / "log",
            environment={"HOME": str(folder)},
        )
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._faults: list[tuple[Fault, float]] = []
        self._server = _Server((_ADDRESS, _PORT), _Handler)
        self._server.aws = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="sandbox-aws", daemon=True
        )

    @property
    def endpoint_url(self) -> str:
        """For AWS_ENDPOINT_URL."""
        return f"http://{_ADDRESS}:{_PORT}"

    def start(self) -> None:
        """Starts it. moto takes a while to load; the first call waits for that."""
        self.process.start()
        self._thread.start()

    def close(self) -> None:
        """Ends both parts."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self.process.kill()

    @contextlib.contextmanager
    def also_at(self, address: str, certificate: Certificate) -> Iterator[None]:
        """Answers at `address`:443, too: for clients that know AWS by its own names only."""
        server = _Server((address, 443), _Handler)
        server.aws = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, name="sandbox-aws-tls", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def wait_ready(self) -> None:
        """Returns when moto answers."""
        self.process.wait_ready(_moto_accepts)

    def client(self, service: str, region: str = REGION, access_key: str = "test") -> Any:
        """A boto3 client for this endpoint."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=access_key,
            aws_secret_access_key="test",
        )

    def calls(self, action: str = "") -> list[Call]:
        """The calls, of one action or of all, since the start or the last `reset`."""
        with self._lock:
            return [call for call in self._calls if action in ("", call.action)]

    def inject(self, fault: Fault) -> None:
        """Plays a fault to coming calls; faults for the same action follow one another."""
        with self._lock:
            self._faults.append((fault, fault.times))

    def fail(self, action: str, status: int, code: str, *, times: float = 1) -> None:
        """The next calls fail as AWS fails them: `ThrottlingException`, `AccessDeniedException`…"""
        body = json.dumps({"__type": code, "message": f"{code} by the sandbox"}).encode()
        self.inject(Fault(action, status, body, {"x-amzn-ErrorType": code}, times=times))

    def reset(self) -> None:
        """Forgets calls and faults; what moto stores stays."""
        with self._lock:
            self._calls.clear()
            self._faults.clear()

    def record(self, call: Call) -> Fault | None:
        """Counts a call and says which fault it meets."""
        with self._lock:
            self._calls.append(call)
            for at, (fault, left) in enumerate(self._faults):
                if fault.action == call.action and fault.service in ("", call.service):
                    self._faults[at : at + 1] = [(fault, left - 1)] if left > 1 else []
                    return fault
        return None


def _moto_accepts() -> bool:
    try:
        socket.create_connection((_ADDRESS, _MOTO_PORT), timeout=1).close()
    except OSError:
        return False
    return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    aws: Aws

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what tests do, and no fault of the proxy's."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Calls are recorded, not logged."""

    def _handle(self) -> None:
        body = self._read_body()
        call = self._call(body)
        fault = self.server.aws.record(call)
        if fault is not None:
            time.sleep(fault.delay_seconds)
            if fault.status is not None:
                self._answer(fault.status, fault.headers, fault.body)
                return
        if call.service == "ecr-public" and call.action == "GetAuthorizationToken":
            self._answer(200, {"Content-Type": "application/x-amz-json-1.1"}, _public_token())
            return
        self._forward(body, fault or Fault(""))

    # The names by which http.server looks up its handlers.
    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return body

    def _call(self, body: bytes) -> Call:
        scope = _SCOPE.search(self.headers.get("Authorization", ""))
        target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        query = urllib.parse.parse_qs(body.decode("latin-1")) if body[:7] == b"Action=" else {}
        return Call(
            service=scope["service"] if scope else "",
            action=target or query.get("Action", [self.command])[0],
            region=scope["region"] if scope else "",
            access_key=scope["key"] if scope else "",
            method=self.command,
            path=self.path,
            range=self.headers.get("Range", ""),
        )

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        SECRETS.add_ecr_tokens(body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _forward(self, body: bytes, fault: Fault) -> None:
        self.server.aws.wait_ready()
        sent = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
        sent["Content-Length"] = str(len(body))
        with contextlib.closing(
            http.client.HTTPConnection(_ADDRESS, _MOTO_PORT, timeout=_TIMEOUT_SECONDS)
        ) as moto:
            moto.request(self.command, self.path, body, sent)
            response = moto.getresponse()
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            if response.headers["Content-Length"] is None:
                self.close_connection = True
                self.send_header("Connection", "close")
            self.end_headers()
            left = fault.truncate_after_bytes
            while chunk := response.read(_CHUNK_BYTES):
                SECRETS.add_ecr_tokens(chunk)
                if left is not None:
                    chunk, left = chunk[:left], left - len(chunk)
                self.wfile.write(chunk)
                if left is not None and left < 0:
                    time.sleep(fault.stall_seconds)
                    self.close_connection = True
                    return


def _public_token() -> bytes:
    # moto has no ecr-public. Unlike ecr's, its authorizationData is not a list.
    token = base64.b64encode(f"{ECR_USER}:ecr-public-token".encode()).decode()
    expires = time.time() + 12 * 3600
    return json.dumps(
        {"authorizationData": {"authorizationToken": token, "expiresAt": expires}}
    ).encode()
