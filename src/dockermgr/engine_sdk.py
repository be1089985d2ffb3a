"""The docker SDK as it is used here: its clients, and its errors as ours."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from typing import Any

import docker
import docker.errors
import docker.utils.config
import requests
import urllib3.exceptions
from docker.transport.unixconn import (
    UnixHTTPAdapter,
    UnixHTTPConnection,
    UnixHTTPConnectionPool,
)
from docker.utils import parse_host

from dockermgr import classify
from dockermgr.engine_access import access_error
from dockermgr.errors import DockermgrError, ErrorCode, Retry


def _no_config_file(config_path: Any = None) -> Any:  # noqa: ARG001
    return None


# The SDK looks for ~/.docker/config.json with each client, and breaks on a damaged one. Nothing in it
# is for us: credentials come with each pull, and a stored login must not take their place.
docker.utils.config.find_config_file = _no_config_file

QUERY_TIMEOUT_SECONDS = 60
"""For questions that the engine answers from its own data."""


def new_client(
    base_url: str, api_version: str, timeout_seconds: int = QUERY_TIMEOUT_SECONDS
) -> docker.APIClient:
    """A client of the engine at `base_url`. Raises DOCKER_SERVICE_UNAVAILABLE for no address at all."""
    try:
        parse_host(base_url)
    except docker.errors.DockerException as error:
        raise DockermgrError(
            ErrorCode.DOCKER_SERVICE_UNAVAILABLE,
            f"{base_url!r} is not the address of a Docker Engine: {error}",
            hint="correct DOCKER_HOST, for instance unix:///var/run/docker.sock",
        ) from error
    return docker.APIClient(base_url=base_url, version=api_version, timeout=timeout_seconds)


class AbortableClient(docker.APIClient):
    """A client whose connections another thread can shut down.

    The SDK pulls without any timeout, and a thread that waits on a socket is woken by nothing but
    the socket. Over TCP (`DOCKER_HOST=tcp://…`) the sockets are urllib3's own: there only the
    events' arrival is noticed.
    """

    def __init__(self, base_url: str, api_version: str) -> None:
        self._sockets: list[socket.socket] = []
        self._aborted = False
        super().__init__(base_url=base_url, version=api_version, timeout=QUERY_TIMEOUT_SECONDS)
        adapter = self.adapters.get("http+docker://")
        if isinstance(adapter, UnixHTTPAdapter):
            self.mount("http+docker://", _TrackingAdapter(adapter.socket_path, self._track))

    def _track(self, opened: socket.socket) -> None:
        self._sockets.append(opened)
        if self._aborted:
            self.abort()

    def abort(self) -> None:
        """Ends whatever goes on, from any thread."""
        self._aborted = True
        for opened in self._sockets:
            with contextlib.suppress(OSError):  # closed already: what we want
                opened.shutdown(socket.SHUT_RDWR)


class _TrackingAdapter(UnixHTTPAdapter):
    def __init__(self, socket_path: str, track: Any) -> None:
        super().__init__(f"http+unix://{socket_path}", timeout=QUERY_TIMEOUT_SECONDS)
        self._track = track

    def get_connection(self, url: Any, proxies: Any = None) -> Any:  # noqa: ARG002
        return _TrackingPool(url, self.socket_path, self._track)


class _TrackingPool(UnixHTTPConnectionPool):
    def __init__(self, base_url: str, socket_path: str, track: Any) -> None:
        super().__init__(base_url, socket_path, timeout=QUERY_TIMEOUT_SECONDS, maxsize=1)
        self._track = track

    def _new_conn(self) -> Any:
        return _TrackingConnection(self.base_url, self.socket_path, self._track)


class _TrackingConnection(UnixHTTPConnection):
    def __init__(self, base_url: str, socket_path: str, track: Any) -> None:
        super().__init__(base_url, socket_path, timeout=QUERY_TIMEOUT_SECONDS)
        self._track = track

    def connect(self) -> None:
        super().connect()
        self._track(self.sock)


SDK_ERRORS = (
    docker.errors.DockerException,
    docker.errors.StreamParseError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
    ValueError,
)
"""What the SDK lets through: an engine that dies, or a connection that is shut down, in the middle of
the events is urllib3's ProtocolError, and half an event its own StreamParseError (a RuntimeError)."""


def error_text(event: Mapping[str, object]) -> str:
    """What went wrong, if an event of the engine says so; else nothing."""
    detail = event.get("errorDetail")
    text = detail.get("message") if isinstance(detail, Mapping) else None
    return str(text or event.get("error") or "")


def from_sdk(error: Exception, *, query: bool = False) -> DockermgrError:
    """Our error for one of the SDK's: the engine's own words, or that it could not be reached."""
    if isinstance(error, docker.errors.APIError):
        status = error.response.status_code if error.response is not None else None
        text = str(error.explanation or error)
        if query:
            return DockermgrError(
                ErrorCode.DOCKER_IMAGE_QUERY_ERROR,
                f"the engine answered HTTP {status}: {text}",
                hint="see the engine's own log (journalctl -u docker)",
                retry=Retry.LIMITED,
            )
        return classify.from_engine_text(text, http_status=status)
    return access_error(error)
