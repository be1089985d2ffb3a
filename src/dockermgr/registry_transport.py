"""Connections to registries: TLS as the engine verifies it, through this process's proxies, in time."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from dockermgr.manifest import ManifestUnavailable

CERTIFICATES = Path("/etc/docker/certs.d")
"""Where the engine looks for the authorities of single registries, `<host[:port]>/*.crt`
(docs.docker.com, "Verify repository client with certificates")."""

_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go; what decides whether credentials may."""

    scheme: str
    host: str
    """Without brackets, in lower case."""
    port: int

    @property
    def is_loopback(self) -> bool:
        """What the engine takes for insecure unasked, and so tries without TLS as well (moby,
        registry/config.go)."""
        if self.host == "localhost":
            return True
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return False

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def origin_of(url: str) -> Origin:
    """The origin of an http or https URL. Raises `ManifestUnavailable` for all else."""
    try:
        parts = urllib.parse.urlsplit(url)
        port, host, scheme = parts.port, parts.hostname, parts.scheme.lower()
        known = scheme in _DEFAULT_PORTS and "@" not in parts.netloc
    except ValueError:
        known, host = False, None
    if not known or not host:
        raise ManifestUnavailable("the registry names an address that cannot be used")
    return Origin(scheme, host, port or _DEFAULT_PORTS[scheme])


def trust(registry: str, *, insecure: bool = False) -> ssl.SSLContext:
    """Verifies servers by the system's authorities, and those of the engine for `registry`.

    With `insecure` it verifies nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    paths = ssl.get_default_verify_paths()
    if paths.capath and paths.openssl_cafile_env not in os.environ and _is_hashed(paths.capath):
        # OpenSSL then reads the one file that it needs; the whole bundle takes 1.3 MB, for good.
        context.load_verify_locations(capath=paths.capath)
    else:
        context.set_default_verify_paths()  # counts SSL_CERT_FILE and SSL_CERT_DIR
    for file in _own_authorities(registry):
        with contextlib.suppress(OSError):  # not readable, or no certificate: less is trusted
            context.load_verify_locations(cafile=str(file))
    return context


def _own_authorities(registry: str) -> list[Path]:
    try:
        return sorted((CERTIFICATES / registry).glob("*.crt"))
    except OSError:  # not for us to read
        return []


def _is_hashed(folder: str) -> bool:
    """Whether certificates lie there under the names that OpenSSL looks for (openssl-rehash(1))."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith(".0") for entry in entries)
    except OSError:
        return False


class Transport:
    """Connections that are kept until `close`, all of them together open for `timeout_seconds` at most.

    `abort` ends them from any thread. What it raises is `ManifestUnavailable`, or of http.client.
    """

    def __init__(self, context: ssl.SSLContext, timeout_seconds: float) -> None:
        self._context = context
        self._timeout_seconds = timeout_seconds
        self._ends_at = time.monotonic() + timeout_seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._kept: dict[Origin, http.client.HTTPConnection] = {}
        self._aborted = False
        # A socket's own timeout counts from byte to byte: a server that drips would never end.
        timer = threading.Timer(timeout_seconds, self.abort)
        timer.daemon = True
        timer.start()
        # No attribute: a circle of references would keep the context, megabytes with some systems.
        self._on_close = contextlib.ExitStack()
        self._on_close.callback(timer.cancel)

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._on_close.close()
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for connection in self._kept.values():
            connection.close()
        for opened in sockets:
            opened.close()

    def abort(self) -> None:
        """Lets whoever uses a connection fail at once, and whoever opens one."""
        with self._lock:
            self._aborted = True
            for opened in self._sockets:
                with contextlib.suppress(OSError):  # not connected yet, or no longer
                    # Not SSLSocket's own, which would go on without TLS.
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)

    def connection(self, origin: Origin) -> http.client.HTTPConnection:
        """The connection that is kept to `origin`, or a new one.

        Raises `ManifestUnavailable`.
        """
        kept = self._kept.get(origin)
        if kept is not None and kept.sock is not None:
            return kept
        try:
            opened = self._open(origin)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self.failure(origin, error) from None
        self._kept[origin] = opened
        return opened

    @property
    def aborted(self) -> bool:
        """Whether time is over, or somebody called `abort`."""
        return self._aborted

    def failure(self, origin: Origin, error: Exception) -> ManifestUnavailable:
        """What went wrong there. Texts of http.client are left out: they quote what was sent."""
        if self._aborted or isinstance(error, TimeoutError):
            return ManifestUnavailable(
                f"{origin.authority}: no answer within {self._timeout_seconds:g} s"
            )
        reason = f"unusable answer ({type(error).__name__})"
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted: {error.verify_message}"
        elif isinstance(error, OSError):
            reason = error.strerror or type(error).__name__
        return ManifestUnavailable(f"{origin.authority}: {reason}")

    def _open(self, origin: Origin) -> http.client.HTTPConnection:
        proxy = _proxy_for(origin)
        with contextlib.ExitStack() as on_failure:
            opened = self._dial(proxy.origin if proxy else origin)
            on_failure.callback(opened.close)
            if proxy is not None:
                _tunnel(opened, origin, proxy)
            connection = http.client.HTTPConnection(origin.host, origin.port)
            if origin.scheme == "https":
                secured = self._context.wrap_socket(
                    opened, server_hostname=origin.host, do_handshake_on_connect=False
                )
                on_failure.callback(secured.close)
                self._track(secured)
                secured.do_handshake()
                opened = secured
                connection = http.client.HTTPSConnection(
                    origin.host, origin.port, context=self._context
                )
            connection.sock = opened
            connection.auto_open = 0  # it knows neither the proxy nor the time that is left
            on_failure.pop_all()
            return connection

    def _dial(self, target: Origin) -> socket.socket:
        addresses = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        problem = OSError("the name has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            opened = socket.socket(family, kind, protocol)
            self._track(opened)
            try:
                # A share of the time for each: one that is silent leaves some for the next.
                opened.settimeout(self._left_seconds() / (len(addresses) - tried))
                opened.connect(address)
                opened.settimeout(self._left_seconds())
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                opened.close()
                problem = error
            else:
                return opened
        raise problem

    def _track(self, opened: socket.socket) -> None:
        with self._lock:
            self._sockets.append(opened)
            if not self._aborted:
                return
        raise TimeoutError

    def _left_seconds(self) -> float:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@dataclass(frozen=True, slots=True)
class _Proxy:
    origin: Origin
    authorization: str = field(repr=False)


def _proxy_for(origin: Origin) -> _Proxy | None:
    """HTTPS_PROXY and NO_PROXY, as Greengrass sets them for components; loopback never has one."""
    proxies = urllib.request.getproxies()
    url = proxies.get("https")
    if not url or origin.scheme != "https" or origin.is_loopback:
        return None
    if urllib.request.proxy_bypass(origin.authority, proxies):
        return None
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme.lower() != "http" or not parts.hostname:
        raise ManifestUnavailable("HTTPS_PROXY names no HTTP proxy")
    login = ":".join(urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
    return _Proxy(
        Origin("http", parts.hostname, parts.port or _DEFAULT_PORTS["http"]),
        basic_authorization(login) if parts.username else "",
    )


def _tunnel(opened: socket.socket, origin: Origin, proxy: _Proxy) -> None:
    """CONNECT (RFC 9110, 9.3.6)."""
    lines = [f"CONNECT {origin.authority} HTTP/1.1", f"Host: {origin.authority}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    opened.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    with http.client.HTTPResponse(opened, method="CONNECT") as response:
        response.begin()
        if response.status // 100 != 2:
            raise ManifestUnavailable(f"the proxy answered HTTP {response.status}")


def basic_authorization(login: str) -> str:
    """The header for `user:password` (RFC 7617)."""
    return f"Basic {base64.b64encode(login.encode()).decode('ascii')}"
