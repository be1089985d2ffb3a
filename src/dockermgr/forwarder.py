"""Hands connections on from the address that containers reach to a port of this host's loopback."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import urllib.parse
from collections.abc import Callable

from dockermgr.containers import ContainerError
from dockermgr.passthrough import FORWARD_ADDRESS, forwarded

IDLE_SECONDS = 60.0
"""The token exchange service takes up to 30 s to answer."""
_IP_FREEBIND = 15
"""Of Linux's in.h, ip(7); Python has no name for it."""


def forward(uri: str, allowed: Callable[[str], bool]) -> str:
    """Forwards to the token exchange service at `uri`; returns its URI for `allowed` containers.

    Raises ContainerError.
    """
    parts = urllib.parse.urlsplit(uri)
    target = (parts.hostname or "localhost", parts.port or 80)
    try:
        return forwarded(uri, Forwarder(FORWARD_ADDRESS, target, allowed).port)
    except OSError as error:
        raise ContainerError(
            f"cannot listen on {FORWARD_ADDRESS} for tes=forward: {error}"
        ) from error


class Forwarder(socketserver.ThreadingTCPServer):
    """Listens on a free port of `address`, in threads. Who is not `allowed` is not answered.

    This host need not have the address yet: Podman makes a network's bridge with its first container.
    Raises OSError.
    """

    daemon_threads = True

    def __init__(
        self, address: str, target: tuple[str, int], allowed: Callable[[str], bool]
    ) -> None:
        super().__init__((address, 0), _Connection)
        self.target = target
        self.allowed = allowed
        threading.Thread(target=self.serve_forever, name="forwarder", daemon=True).start()

    def server_bind(self) -> None:
        """Before the base class's own."""
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        super().server_bind()

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
