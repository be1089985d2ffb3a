"""The engine's API in plain HTTP: for the process that stays with a container, which is to be small."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import urllib.parse
from dataclasses import dataclass
from io import BufferedReader

from dockermgr.containers import ContainerError


class EngineAway(ContainerError):  # noqa: N818  # a state of affairs
    """The engine cannot be reached, or broke off."""


class Refused(ContainerError):  # noqa: N818  # an answer
    """The engine does not do what it was asked, and says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine said."""

    status: int
    content: object
    """Its JSON; None for another answer."""

    @property
    def good(self) -> bool:
        """Whether it did what it was asked."""
        return self.status < http.client.BAD_REQUEST

    @property
    def message(self) -> str:
        """Why not."""
        said = self.content.get("message") if isinstance(self.content, dict) else None
        return str(said or f"HTTP {self.status}")


class EngineHttp:
    """An engine at `unix://path` or `tcp://host:port`. Every method raises EngineAway."""

    def __init__(self, base_url: str) -> None:
        self._url = urllib.parse.urlsplit(base_url)

    def ask(self, method: str, path: str, timeout_seconds: float | None) -> Answer:
        """One question, one answer."""
        with _broken_off():
            connection = self._connect(timeout_seconds)
            try:
                connection.request(method, path)
                response = connection.getresponse()
                return Answer(response.status, _json(response.read()))
            finally:
                connection.close()

    def begin(self, method: str, path: str) -> http.client.HTTPConnection:
        """A question whose answer may take as long as it likes."""
        with _broken_off():
            connection = self._connect(None)
            connection.request(method, path)
            return connection

    def upgrade(self, path: str) -> tuple[BufferedReader, socket.socket]:
        """Both directions of what becomes a stream of bytes. Raises `Refused`, with the reason."""
        # By hand: http.client closes what it reads from once it takes an answer for complete.
        head = (
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        with _broken_off():
            connection = self._connect(None)
            connection.connect()
            connection.sock.sendall(head.encode("ascii"))
            reader = connection.sock.makefile("rb")
            status = reader.readline().decode("ascii", "replace").strip()
            headers = http.client.parse_headers(reader)
            if status.split()[1:2] not in (["101"], ["200"]):
                body = reader.read(int(headers.get("Content-Length", 0)))
                number = int(status.split()[1]) if status else http.client.BAD_GATEWAY
                raise Refused(Answer(number, _json(body)).message)
            return reader, connection.sock

    def _connect(self, timeout_seconds: float | None) -> http.client.HTTPConnection:
        if self._url.scheme == "tcp":
            host, port = self._url.hostname or "localhost", self._url.port or 2375
            return http.client.HTTPConnection(host, port, timeout=timeout_seconds)
        return _UnixConnection(self._url.path, timeout_seconds)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_seconds: float | None) -> None:
        super().__init__("docker", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _broken_off(contextlib.AbstractContextManager[None]):  # noqa: N801  # used as a function
    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | http.client.HTTPException):
            reason = str(error) or type(error).__name__
            raise EngineAway(f"the Docker Engine does not answer: {reason}") from error


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None
