"""A server that answers as a test tells it and remembers what it was asked."""

from __future__ import annotations

import contextlib
import http.server
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from tests.sandbox.certificates import Certificate


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came in."""

    path: str
    """With the query."""
    authorization: str
    connection: int
    """Which connection it came on, from 1."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Script = Callable[[Asked], Reply]


class ScriptedServer:
    """Listens on an address until the end of `running`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.port = 0
        self._connections = 0

    @contextlib.contextmanager
    def running(
        self, address: str, port: int = 0, certificate: Certificate | None = None
    ) -> Iterator[ScriptedServer]:
        """Serves, with TLS when there is a certificate."""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout: ClassVar[float] = 30

            def setup(self) -> None:
                super().setup()
                outer._connections += 1
                self.number = outer._connections

            def do_GET(self) -> None:
                authorization = self.headers.get("Authorization", "")
                asked = Asked(self.path, authorization, self.number)
                outer.asked.append(asked)
                reply = outer.script(asked)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if "Transfer-Encoding" in reply.headers:
                    self.end_headers()
                    self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(reply.body), reply.body))
                    return
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked had enough of it
                    self.wfile.write(reply.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass

        server = Server((address, port), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class RawServer:
    """Hands each connection to `talk`, in a thread of its own."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self._talk = talk

    @contextlib.contextmanager
    def running(self, address: str, port: int = 0) -> Iterator[int]:
        """The port that it listens on."""
        listener = socket.create_server((address, port))
        thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    accepted = stack.enter_context(listener.accept()[0])
                except OSError:
                    return
                with contextlib.suppress(OSError):
                    self._talk(accepted)


def connect_proxy(seen: list[bytes]) -> Callable[[socket.socket], None]:
    """For `RawServer`: a proxy for CONNECT that notes the head of what it is asked."""

    def talk(client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        seen.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)

    return talk
