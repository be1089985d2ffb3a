"""Which proxy leads to a host, for this component and for the engine, and what a proxy's refusal means.

Pure. A proxy is spoken of without the login that may stand in its URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dockermgr.errors import DockermgrError, ErrorCode, Retry

_LOGIN = re.compile(r"(https?://)[^/\s]*@", re.IGNORECASE)
_REFUSED = re.compile(r"Tunnel connection failed: ([0-9]{3})")  # as http.client says it
_SYSTEM_ERROR = re.compile(r"\[Errno -?[0-9]+\] ([^'\")]+)")
_GUIDE = "see Proxies in docs/operations.md"


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxy settings of a process, as far as registries and AWS go: they speak HTTPS.

    ALL_PROXY alone counts neither for the engine nor for boto3, so it does not here.
    """

    https_proxy: str = ""
    """With scheme, and without user name and password; empty for none."""
    no_proxy: str = ""

    @classmethod
    def of(cls, https_proxy: str, no_proxy: str) -> Proxies:
        """From the values of the variables, or from what the engine says of itself."""
        url = https_proxy.strip().rstrip("/")
        if url and "://" not in url:
            url = f"http://{url}"
        return cls(without_login(url), no_proxy)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Proxies:
        """As requests and boto3 read it: names in small letters come first."""
        https, none = (
            environment.get(name.lower()) or environment.get(name) or ""
            for name in ("HTTPS_PROXY", "NO_PROXY")
        )
        return cls.of(https, none)

    def to(self, host: str) -> str:
        """The proxy on the way to `host[:port]`; empty where there is none, as always to this machine."""
        import urllib.request as url  # some ms, for failures only

        if host.startswith(("localhost", "127.")):
            return ""
        direct = url.proxy_bypass_environment(host, {"no": self.no_proxy})  # type: ignore[attr-defined]
        return "" if direct else self.https_proxy


def without_login(text: str) -> str:
    """`text` without the user names and passwords of the URLs in it."""
    return _LOGIN.sub(r"\1", text)


def with_ways(error: DockermgrError, host: str, own: Proxies, engines: Proxies) -> DockermgrError:
    """A failure on the way to `host`, whose hint says the proxies that lead there, and where they differ."""
    ours, its = own.to(host), engines.to(host)
    if ours != its:
        return error.but(
            hint=f"this component reaches {host} {_way(ours)}, and the engine {_way(its)}: give both the"
            f" same proxy settings, {_GUIDE}; else {error.hint}"
        )
    if its and its not in error.message:
        return error.but(hint=f"{error.hint}; the engine reaches {host} {_way(its)}")
    return error


def _way(proxy: str) -> str:
    return f"through the proxy {proxy}" if proxy else "without a proxy"


def refusal_in(text: str) -> int | None:
    """The HTTP status with which a proxy refused to connect, in an error's text."""
    found = _REFUSED.search(text)
    return int(found[1]) if found else None


def trouble(what: str, proxy: str, said: str) -> DockermgrError:
    """NETWORK_ERROR for a proxy that did not connect us; `said` is the error's text, `what` a sentence."""
    status = refusal_in(said)
    if status is None:
        reason = found[1].strip() if (found := _SYSTEM_ERROR.search(said)) else "no answer"
        return _error(
            f"{what}: no connection to the proxy {proxy} ({reason})",
            f"start the proxy, or correct networkProxy in the nucleus's configuration, {_GUIDE}",
            Retry.UNTIL_MENDED,
        )
    message = f"{what}: the proxy {proxy} answered HTTP {status}"
    if status == 407:
        hint = (
            "the proxy wants another login: correct user name and password under networkProxy in"
            f" the nucleus's configuration, and in the engine's proxy settings, {_GUIDE}"
        )
        return _error(message, hint, Retry.LIMITED)
    hint = f"let the proxy allow that host, or name it under noProxyAddresses, {_GUIDE}"
    if status >= 500:
        hint = "the proxy cannot reach that host: its own log says why"
    return _error(message, hint, Retry.UNTIL_MENDED)


def _error(message: str, hint: str, retry: Retry) -> DockermgrError:
    return DockermgrError(ErrorCode.NETWORK_ERROR, message, hint=hint, retry=retry)
