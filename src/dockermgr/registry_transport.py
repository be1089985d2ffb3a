"""Questions to registries: TLS as the engine verifies it, through this process's proxies, in time."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Url, parse_url

import dockermgr
from dockermgr.manifest import ManifestUnavailable
from dockermgr.proxies import refusal_in, without_login

CERTIFICATES = Path("/etc/docker/certs.d")
"""Where the engine looks for the authorities of single registries, `<host[:port]>/*.crt`
(docs.docker.com, "Verify repository client with certificates")."""

_DEFAULT_PORTS = {"https": 443, "http": 80}
_ERRORS = (OSError, ValueError, urllib3.exceptions.HTTPError)  # requests' own are OSErrors
_CHUNK_BYTES = 64 * 1024

Origin = Url
"""Scheme, host (in lower case, an IPv6 address in brackets) and port: whether credentials may go there."""


def origin_of(url: str) -> Origin:
    """The origin of an http or https URL. Raises `ManifestUnavailable` for all else."""
    try:
        parts = parse_url(url)  # what requests go by, too
    except ValueError:
        parts = Url()
    if parts.scheme not in _DEFAULT_PORTS or not parts.host or parts.auth is not None:
        raise ManifestUnavailable("the registry names an address that cannot be used")
    return Url(parts.scheme, host=parts.host, port=parts.port or _DEFAULT_PORTS[parts.scheme])


def is_loopback(origin: Origin) -> bool:
    """What the engine takes for insecure unasked, and so tries without TLS as well (moby,
    registry/config.go)."""
    try:
        return ipaddress.ip_address(str(origin.host).strip("[]")).is_loopback
    except ValueError:
        return origin.host == "localhost"


def trust(registry: str, *, insecure: bool = False) -> ssl.SSLContext:
    """Verifies servers by the system's authorities, and those of the engine for `registry`.

    With `insecure` it verifies nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return context
    paths = ssl.get_default_verify_paths()
    named = paths.openssl_cafile_env in os.environ
    if paths.capath and not named and any(Path(paths.capath).glob("*.0")):
        # OpenSSL then reads the one file that it needs; the whole bundle takes 1.3 MB, for good.
        context.load_verify_locations(capath=paths.capath)
    else:
        context.set_default_verify_paths()  # counts SSL_CERT_FILE and SSL_CERT_DIR
    with contextlib.suppress(OSError):  # not for us to read, or no certificate: less is trusted
        for file in sorted((CERTIFICATES / registry).glob("*.crt")):
            context.load_verify_locations(cafile=file)
    return context


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: its body is whole."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    @property
    def content_type(self) -> str:
        """As the server writes it."""
        return self.headers.get("Content-Type", "")


class Transport(HTTPAdapter):
    """Asks on connections that are kept until `close`, for `timeout_seconds` all in all.

    Only a host with many addresses, all of them silent, may take longer. `abort` ends it from any
    thread. There is no session: it would bring passwords out of ~/.netrc, and cookies.
    """

    def __init__(self, context: ssl.SSLContext, timeout_seconds: float) -> None:
        super().__init__()
        self._context = context
        self._timeout_seconds = timeout_seconds
        self._opened: list[socket.socket] = []
        self._aborted = False
        # A socket's own timeout counts from byte to byte: a server that drips would never end.
        self._timer = threading.Timer(timeout_seconds, self.abort)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """Closes all connections."""
        self._timer.cancel()
        # A circle of references would keep the context: megabytes, with some systems' authorities.
        del self._timer
        super().close()
        for opened in self._opened:
            opened.close()

    def abort(self) -> None:
        """Lets whoever uses a connection fail at once, and whoever opens one."""
        self._aborted = True
        for opened in self._opened:
            with contextlib.suppress(OSError):  # no longer connected
                opened.shutdown(socket.SHUT_RDWR)

    def _track(self, opened: socket.socket) -> socket.socket:
        opened.settimeout(self._timeout_seconds)  # what was for the address is too short for TLS
        # TLS takes the socket over; a duplicate still reaches the connection.
        self._opened.append(opened.dup())
        if self._aborted:
            self.abort()
        return opened

    def get(self, url: str, accept: str, authorization: str, limit_bytes: int) -> Answer:
        """What the server says of `url`, be it a redirection. Raises `ManifestUnavailable`."""
        origin = origin_of(url)
        headers = {"Accept": accept, "User-Agent": f"dockermgr/{dockermgr.__version__}"}
        if authorization:
            headers["Authorization"] = authorization
        # One silent address of a host leaves time for the next.
        timeout = (self._timeout_seconds / 4, self._timeout_seconds)
        body = bytearray()
        proxies: dict[str, str] = {}
        try:
            request = requests.Request("GET", url, headers).prepare()
            proxies = _proxies(origin)
            with self.send(request, stream=True, timeout=timeout, proxies=proxies) as response:
                # To its end, without which the connection can't be used again.
                for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                    body += chunk
                    if len(body) > limit_bytes:
                        raise ManifestUnavailable(f"the answer has more than {limit_bytes} bytes")
            if self._aborted:
                raise TimeoutError
            return Answer(response.status_code, response.raw.headers, bytes(body))
        except _ERRORS as error:
            reason = self._reason(error)
        # Out of the handler: the errors of requests hold the headers that were sent.
        way = f", through the proxy {without_login(proxies['https'])}" if proxies else ""
        raise ManifestUnavailable(f"{origin}{way}: {reason}")

    def _reason(self, error: Exception) -> str:
        """What went wrong, in words that quote neither addresses nor what was sent."""
        causes = list(_causes(error))
        if isinstance(error, requests.ConnectTimeout):
            return "none of its addresses answers"
        if self._aborted or any(isinstance(cause, TimeoutError) for cause in causes):
            return f"no answer within {self._timeout_seconds:g} s"
        if (status := refusal_in(str(error))) is not None:
            return f"the proxy answered HTTP {status}"
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"its certificate is not trusted: {cause.verify_message}"
            if isinstance(cause, OSError) and cause.strerror:
                return cause.strerror
        return f"no usable answer ({type(error).__name__})"

    def cert_verify(self, conn: Any, *_: Any) -> None:
        """Called with the pool before each request: our context, instead of certifi's authorities."""
        kind = _Connection
        if conn.scheme == "https":
            kind = _TlsConnection
            conn.cert_reqs = self._context.verify_mode
            conn.conn_kw["ssl_context"] = self._context
        conn.ConnectionCls = functools.partial(kind, self._track)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """What led to it, each without its frames: they form circles that keep the context in memory."""
    while isinstance(error, _ERRORS):
        yield error.with_traceback(None)
        error = error.__cause__ or error.__context__


class _Connection(HTTPConnection):
    def __init__(self, track: Callable[[socket.socket], socket.socket], **options: Any) -> None:
        super().__init__(**options)
        self._track = track

    def _new_conn(self) -> socket.socket:
        return self._track(super()._new_conn())


class _TlsConnection(_Connection, HTTPSConnection):
    pass


def _proxies(origin: Origin) -> dict[str, str]:
    """HTTPS_PROXY and NO_PROXY, as Greengrass sets them for components; loopback never has one."""
    if origin.scheme != "https" or is_loopback(origin):
        return {}
    proxy = get_environ_proxies(str(origin)).get("https")
    if not proxy:
        return {}
    url = proxy if "://" in proxy else f"http://{proxy}"
    if not url.lower().startswith("http://"):
        raise ManifestUnavailable("HTTPS_PROXY names no HTTP proxy")
    return {"https": url}
