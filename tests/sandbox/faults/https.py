"""A proxy that ends TLS before a registry, and answers in its place where a test wants that.

So it can say what a registry, a load balancer, a company's proxy or S3 says in the field, with any
certificate. What no fault is meant for is the registry's own answer, passed on in pieces.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.sandbox.certificates import Certificate
from tests.sandbox.faults.answers import Answer, s3_error
from tests.sandbox.faults.rules import BLOBS, Fault, Request, Rules
from tests.sandbox.faults.tcp import PORT
from tests.sandbox.processes import wait_until
from tests.sandbox.registry import Registry
from tests.sandbox.secrets import SECRETS

BLOB_HOST = "prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com"
"""Where ECR of us-east-1 sends clients for blobs."""

_PRESIGNED = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=3600&X-Amz-Signature=sandbox"
_CHUNK_BYTES = 64 * 1024
_TIMEOUT_SECONDS = 60.0
_LONGEST_DELAY_SECONDS = 3600.0
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}
_BAD_GATEWAY = Answer(502, b"Bad Gateway\n", {"Content-Type": "text/plain"})


Headers = Sequence[tuple[str, str]]
"""Not a mapping: dockerd sends a line of `Accept` for each media type."""


class HttpsProxy:
    """Stands at `address`:443 for a registry, with a certificate of its own.

    GET and HEAD only: nothing is pushed through it. A registry that is down is a 502.
    """

    def __init__(
        self,
        registry: Registry,
        address: str,
        certificate: Certificate,
        blob_host: str = BLOB_HOST,
    ) -> None:
        self.names = list(registry.names)
        self.address = address
        self.registry = registry
        self.blob_host = blob_host
        self.redirects_blobs = False
        """Whether it sends clients to `blob_host` for blobs, as ECR does."""
        self.refused_handshakes = 0
        """How many clients did not like the certificate, or spoke no TLS."""
        self.rules = Rules()
        self.closing = threading.Event()
        self.certificate = certificate
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._registry_context = registry.certificate.client_context()
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.02},
            name=f"sandbox-https-proxy-{address}",
            daemon=True,
        )

    @property
    def certificate(self) -> Certificate:
        """What it shows; may be changed at any time, for connections that come after."""
        return self._certificate

    @certificate.setter
    def certificate(self, certificate: Certificate) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        self._certificate = certificate
        self.context = context

    def start(self) -> None:
        """Accepts connections."""
        self._thread.start()

    def close(self) -> None:
        """Ends all connections and all threads."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()

    def inject(self, *faults: Fault) -> None:
        """Queues faults. Of those that a request is meant by, the first in the line strikes it."""
        self.rules.add(faults)

    def mend(self) -> None:
        """No faults any more; those that have struck take their course."""
        self.rules.clear()

    def requests(self, path: str = "", method: str = "") -> list[Request]:
        """All that were answered so far, or those that a `Fault` with these would be meant for."""
        probe = Fault(path, method=method)
        with self._lock:
            return [each for each in self._requests if probe.means(each.method, "", each.path)]

    def wait_for(self, requests: int, path: str = "", method: str = "") -> None:
        """Returns when so many of these were answered."""
        wait_until(
            lambda: len(self.requests(path, method)) >= requests,
            f"{requests} requests {method} {path} at the proxy before {self.names[0]}",
        )

    def record(self, request: Request) -> None:
        """Takes note of a request just before its answer, so that no client knows of it before."""
        with self._lock:
            self._requests.append(request)

    @contextlib.contextmanager
    def ask_registry(
        self, method: str, path: str, headers: Headers
    ) -> Iterator[http.client.HTTPResponse]:
        """The registry's own answer, whose body is still to be read."""
        connection = http.client.HTTPSConnection(
            self.registry.address, PORT, context=self._registry_context, timeout=_TIMEOUT_SECONDS
        )
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            with connection.getresponse() as answer:
                yield answer


class _Server(socketserver.ThreadingTCPServer):
    """Unlike http.server's it asks no name server for its own name. Its end waits for threads."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, proxy: HttpsProxy) -> None:
        self.proxy = proxy
        self._connections: set[ssl.SSLSocket] = set()
        super().__init__((proxy.address, PORT), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        """Without the handshake: a slow client must not hold up others."""
        plain, address = super().get_request()
        connection = self.proxy.context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        )
        self._connections.add(connection)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread."""
        try:
            request.do_handshake()
        except OSError:
            self.proxy.refused_handshakes += 1
            return
        super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The end of a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Wakes the threads that read from clients or write to them."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                # Not SSLSocket's own, which pulls the TLS from under those threads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is what tests do, and no fault of the proxy's."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Requests are recorded, not logged."""

    def setup(self) -> None:
        """What one connection needs."""
        super().setup()
        self.proxy = self.server.proxy

    def _handle(self) -> None:
        self.host = self.headers.get("Host", "").partition(":")[0]
        self.fault = self.proxy.rules.take(self.command, self.host, self.path)
        if self.fault is not None:
            self.proxy.closing.wait(min(self.fault.delay_seconds, _LONGEST_DELAY_SECONDS))
            if self.fault.drop or self.proxy.closing.is_set():
                self._record(0)
                self.close_connection = True
                return
            if self.fault.answer is not None:
                self._answer(self.fault.answer)
                return
        if self.host == self.proxy.blob_host:
            self._as_s3()
        elif self._is_redirected():
            SECRETS.add("the signature of a layer's address", _PRESIGNED.rpartition("&")[2])
            location = f"https://{self.proxy.blob_host}{self.path}?{_PRESIGNED}"
            self._answer(Answer(307, b"", {"Location": location}))
        else:
            self._forward(self.headers.items())

    # The names by which http.server looks up its handlers.
    do_GET = do_HEAD = _handle  # noqa: N815

    def _as_s3(self) -> None:
        if "Authorization" in self.headers:
            problem = "Only one auth mechanism allowed"
            self._answer(s3_error(400, "InvalidArgument", problem))
        elif not self.path.endswith(f"?{_PRESIGNED}"):
            self._answer(s3_error(403, "AccessDenied", "Access Denied"))
        else:
            headers = self.headers.items()
            if (login := self.proxy.registry.credentials) is not None:
                basic = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
                headers.append(("Authorization", f"Basic {basic}"))
            self._forward(headers)

    def _is_redirected(self) -> bool:
        if not self.proxy.redirects_blobs or self.command != "GET":
            return False
        if re.search(BLOBS, self.path) is None:
            return False
        # Only who may have the blob is told where it is.
        try:
            with self.proxy.ask_registry("HEAD", self.path, self.headers.items()) as answer:
                return answer.status in (http.client.OK, http.client.PARTIAL_CONTENT)
        except (OSError, http.client.HTTPException):
            return False

    def _record(self, status: int) -> None:
        path, asked = self.path.partition("?")[0], self.headers.get("Range", "")
        self.proxy.record(Request(self.command, self.host, path, asked, status, self.fault))

    def _answer(self, answer: Answer) -> None:
        self._record(answer.status)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _forward(self, headers: Headers) -> None:
        headers = [each for each in headers if each[0].lower() not in _HOP_BY_HOP]
        path = self.path.removesuffix(f"?{_PRESIGNED}")
        with contextlib.ExitStack() as stack:
            try:
                answer = stack.enter_context(self.proxy.ask_registry(self.command, path, headers))
            except (OSError, http.client.HTTPException):
                self._answer(_BAD_GATEWAY)
                return
            self._record(answer.status)
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            if answer.headers["Content-Length"] is None:
                self.close_connection = True
                self.send_header("Connection", "close")
            self.end_headers()
            self._pass_body(answer)

    def _pass_body(self, answer: http.client.HTTPResponse) -> None:
        fault = self.fault or Fault()
        left, corrupt = fault.truncate_after_bytes, fault.corrupt
        while chunk := answer.read(_CHUNK_BYTES):
            if corrupt:
                chunk, corrupt = bytes([chunk[0] ^ 0xFF]) + chunk[1:], False
            if left is not None:
                chunk, left = chunk[:left], left - len(chunk)
            self.wfile.write(chunk)
            if left is not None and left <= 0:
                break
        # Bytes of the announced length are still missing; the last of them may have been read, not sent.
        self.close_connection |= left is not None or not answer.isclosed()
