"""Hands connections on from the address that containers reach to a port of this host's loopback."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable

IDLE_SECONDS = 60.0
"""The token exchange service takes up to 30 s to answer."""


class Forwarder(socketserver.ThreadingTCPServer):
    """Listens on a free port of `address`, in threads. Who is not `allowed` is not answered.

    Raises OSError when this host has no such address.
    """

    daemon_threads = True

    def __init__(
        self, address: str, target: tuple[str, int], allowed: Callable[[str], bool]
    ) -> None:
        super().__init__((address, 0), _Connection)
        self.target = target
        self.allowed = allowed
        threading.Thread(target=self.serve_forever, name="forwarder", daemon=True).start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever broke the connection knows; the next one is not concerned."""


class _Connection(socketserver.BaseRequestHandler):
    server: Forwarder
    request: socket.socket

    def handle(self) -> None:
        if not self.server.allowed(self.client_address[0]):
            return
        self.request.settimeout(IDLE_SECONDS)
        with socket.create_connection(self.server.target, timeout=IDLE_SECONDS) as target:
            back = threading.Thread(target=_copy, args=(target, self.request), daemon=True)
            back.start()
            _copy(self.request, target)
            back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(65536):
            sink.sendall(content)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
