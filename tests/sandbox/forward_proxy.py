"""A site's proxy: it connects its clients to hosts (CONNECT, RFC 9110), and only it knows where they are."""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import threading
import urllib.parse
from http import HTTPStatus

from tests.sandbox.secrets import SECRETS

PORT = 3128
_BUFFER_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 16 * 1024


class ForwardProxy:
    """Listens at `address`:3128 and connects to the hosts in `names`, which no name server need know.

    With `login`, `user:password` as URLs write it, it wants that. A context manager.
    """

    def __init__(self, address: str, names: dict[str, str], *, login: str = "") -> None:
        self.names = dict(names)
        self.status: HTTPStatus | None = None
        """What everybody is answered instead of a connection."""
        self.targets: list[str] = []
        """The `host:port` of each connection that was asked for, in order."""
        self.others: list[str] = []
        """First lines of all that is no CONNECT."""
        self.url = f"http://{login}{'@' if login else ''}{address}:{PORT}"
        self.shown = f"http://{address}:{PORT}"
        """The URL without user and password: what may show."""
        self.wanted = ""
        if login:
            plain = urllib.parse.unquote(login)
            SECRETS.add("the password of the proxy", plain.partition(":")[2])
            self.wanted = f"Basic {base64.b64encode(plain.encode()).decode()}"
            SECRETS.add("the login of the proxy", self.wanted)
        self._server = _Server((address, PORT), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="sandbox-proxy", daemon=True
        )

    def __enter__(self) -> ForwardProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuses connections from now on; those that are open end with their clients."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def variables(self) -> dict[str, str]:
        """What both nuclei set for components when this is their `networkProxy`."""
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        return dict.fromkeys((*names, *map(str.lower, names)), self.url)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    proxy: ForwardProxy


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        """One connection: a request, an answer, and then bytes both ways until one side ends."""
        with contextlib.suppress(OSError):
            lines = self._head()
            status = self._refusal(lines)
            if status is not None:
                self._answer(status)
                return
            host, _, port = lines[0].split()[1].rpartition(":")
            address = self.server.proxy.names[host]
            with socket.create_connection((address, int(port))) as target:
                self._answer(HTTPStatus.OK)
                back = threading.Thread(target=_pump, args=(target, self.request), daemon=True)
                back.start()
                _pump(self.request, target)
                back.join()

    def _head(self) -> list[str]:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD_BYTES:
            if not (byte := self.request.recv(1)):  # one by one: what follows is the client's TLS
                raise ConnectionError
            head += byte
        return head.decode("latin-1").splitlines()

    def _refusal(self, lines: list[str]) -> HTTPStatus | None:
        proxy = self.server.proxy
        method, target, *_ = lines[0].split()
        if method != "CONNECT":
            proxy.others.append(lines[0])
            return HTTPStatus.FORBIDDEN
        proxy.targets.append(target)
        if proxy.status is not None:
            return proxy.status
        if proxy.wanted and f"proxy-authorization: {proxy.wanted}".lower() not in (
            line.lower() for line in lines
        ):
            return HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
        return None if target.rpartition(":")[0] in proxy.names else HTTPStatus.BAD_GATEWAY

    def _answer(self, status: HTTPStatus) -> None:
        self.request.sendall(f"HTTP/1.1 {status.value} {status.phrase}\r\n\r\n".encode())


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_BUFFER_BYTES):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
