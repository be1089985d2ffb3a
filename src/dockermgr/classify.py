"""From the texts of engines and registries to errors that know whether to try again.

The engine hands on what a registry said as text and little more, so this table is the one place
where text is looked at. Shapes: Docker Engine 20.10 (classic store), 26.1 (containerd store),
Podman 4.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.retry_after import retry_after_seconds


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    code: ErrorCode
    retry: Retry
    hint: str
    credentials_refused: bool = False
    ask_registry: bool = False


def _rule(
    pattern: str,
    code: ErrorCode,
    retry: Retry,
    hint: str,
    *,
    credentials_refused: bool = False,
    ask_registry: bool = False,
) -> _Rule:
    compiled = re.compile(pattern, re.IGNORECASE)
    return _Rule(compiled, code, retry, hint, credentials_refused, ask_registry)


# A word or a number of a sentence, not a part of a name, tag, port, path or address: the texts quote those.
_FREE = r"(?<![\w/:@.\[-])(?:{})(?![\w/@-]|\.\w|:\w)"


def _free(words: str) -> str:
    return _FREE.format(words)


# The first rule that fits wins, so what is more telling stands first.
_RULES: tuple[_Rule, ...] = (
    _rule(
        # What net/http makes of a proxy's answer to CONNECT; a registry's own has a number.
        r"(?:get|head) \"?https://[^\s\"]*\"?: (?:proxyconnect tcp: )?"
        r"(?:forbidden|bad gateway|service unavailable|gateway time-?out)$",
        ErrorCode.NETWORK_ERROR,
        Retry.UNTIL_MENDED,
        "the engine's proxy does not connect it to the registry: let it allow that host, or name the host"
        " in the engine's NO_PROXY, see Proxies in docs/operations.md",
    ),
    _rule(
        _free("proxyconnect") + r"(?!.*authentication required)",
        ErrorCode.NETWORK_ERROR,
        Retry.UNTIL_MENDED,
        "the engine gets no connection to its proxy: start that, or correct the engine's proxy settings,"
        " see Proxies in docs/operations.md",
    ),
    _rule(
        r"no such host",
        ErrorCode.NETWORK_ERROR,
        Retry.UNTIL_MENDED,
        "the registry's host name does not resolve; check its spelling and this device's DNS",
    ),
    _rule(
        _free(r"toomanyrequests|429|throttl\w*") + r"|too many requests|rate exceeded",
        ErrorCode.THROTTLING_ERROR,
        Retry.LIMITED,
        "the registry limits how often it is asked; signing in raises the limit on most registries",
        ask_registry=True,
    ),
    _rule(
        r"no space left on device|not enough space|disk quota exceeded",
        ErrorCode.DISK_SPACE_CRITICAL,
        Retry.LIMITED,
        "free some space on the disk that holds the engine's data (docker system df)",
    ),
    _rule(
        r"error unmarshalling content|invalid character '<'|\(text/html\) from remote"
        r"|unexpected media type text/html",
        ErrorCode.NETWORK_ERROR,
        Retry.UNTIL_MENDED,
        "something answers in the registry's place, with a web page: a captive portal or a proxy",
    ),
    _rule(
        r"request has expired",
        ErrorCode.DOCKER_PULL_ERROR,
        Retry.LIMITED,
        "a layer's pre-signed address had expired: the network is very slow, or the clock is wrong",
    ),
    _rule(
        r"no matching manifest for|no match for platform|does not match the specified platform"
        r"|image operating system .* cannot be used|cannot parse platform|invalid platform"
        r"|unknown operating system or architecture|no image found in (?:manifest list|image index)",
        ErrorCode.IMAGE_PLATFORM_MISMATCH,
        Retry.NEVER,
        "publish the image for this device's platform, or set `platform` on the image",
        ask_registry=True,
    ),
    _rule(
        r"is not authorized to perform: ecr:(?P<action>\w+)",
        ErrorCode.DOCKER_PULL_ERROR,
        Retry.NEVER,
        "allow that action in the policy of the device's token exchange role, or in the"
        " repository's policy when it belongs to another account",
    ),
    _rule(
        r"proxy authentication required|" + _free("407"),
        ErrorCode.NETWORK_ERROR,
        Retry.LIMITED,
        "the engine's proxy wants a login, or another one: correct the engine's proxy settings, see"
        " Proxies in docs/operations.md",
    ),
    _rule(
        r"no basic auth credentials|authorization token has expired|authentication required"
        r"|incorrect username or password|denied: not authorized|security token included in the request"
        # ECR answers 400 to a token that is none, and 403 to one of another account.
        r"|login attempt to \S+ failed with status: 40[013]"
        r"|pinging container registry \S+ invalid status code from registry 40[03]"
        r"|bearer token: invalid status code from registry 403|" + _free("401|unauthorized"),
        ErrorCode.DOCKER_LOGIN_ERROR,
        Retry.NEVER,
        "the registry refused the credentials, or wants some and has none; a login for one that is not"
        " Amazon ECR stands under `registries` in the manager's configuration",
        credentials_refused=True,
    ),
    _rule(
        # containerd asks for a manifest with HEAD, and is told no reason.
        r"unexpected status from (?:HEAD|GET|POST) request to \S+ 403",
        ErrorCode.DOCKER_LOGIN_ERROR,
        Retry.NEVER,
        "the registry refused the credentials, or they may not read this image: for ECR, allow"
        " ecr:BatchGetImage in the policy of the device's token exchange role",
        credentials_refused=True,
        ask_registry=True,
    ),
    _rule(
        r"unexpected commit digest|failed size validation",
        ErrorCode.IMAGE_DIGEST_MISMATCH,
        Retry.LIMITED,
        "what arrived is not what the registry announced; a proxy in between may be altering it. The"
        " engine keeps the damaged download until it is started again (systemctl restart docker)",
    ),
    _rule(
        r"(?:filesystem layer|image config) verification failed|digest did not match"
        r"|manifest verification failed|does not match (?:provided manifest )?digest|mismatched digest"
        r"|does not match expected sha",
        ErrorCode.IMAGE_DIGEST_MISMATCH,
        Retry.LIMITED,
        "what arrived is not what the registry announced; a proxy in between may be altering it",
    ),
    _rule(
        r"manifest unknown|manifest for .* not found|name unknown|repository .* not found"
        r"|pull access denied|access to the resource is denied|: not found$|" + _free("denied"),
        ErrorCode.DOCKER_IMAGE_NOT_VALID,
        Retry.NEVER,
        "check the repository and the tag for typing errors, that the image was pushed, and that"
        " this device may read it",
    ),
    _rule(
        r"certificate has expired|not yet valid",
        ErrorCode.NETWORK_ERROR,
        Retry.UNTIL_MENDED,
        "the registry's certificate is out of date, or this device's clock is wrong",
    ),
    _rule(
        r"certificate is (?:not )?valid for",
        ErrorCode.NETWORK_ERROR,
        Retry.UNTIL_MENDED,
        "another server answers in the registry's place: a captive portal, a proxy or a wrong entry"
        " of DNS",
    ),
    _rule(
        _free("x509") + r"|certificate signed by unknown authority"
        r"|first record does not look like a TLS handshake|server gave HTTP response to HTTPS",
        ErrorCode.NETWORK_ERROR,
        Retry.LIMITED,
        "TLS to the registry fails: put its CA certificate into /etc/docker/certs.d/<host>/ca.crt",
    ),
    _rule(
        r":80: connect: connection refused",
        ErrorCode.NETWORK_ERROR,
        Retry.UNTIL_MENDED,
        "the engine fell back to plain HTTP, which it does for registries it holds for insecure:"
        " HTTPS failed, or the registry wants a login",
    ),
    _rule(
        r"connection refused|i/o timeout|timeout exceeded|handshake timeout|deadline exceeded"
        r"|connection reset|broken pipe|unexpected eof|no route to host|is unreachable"
        r"|server misbehaving|temporary failure|connection timed out"
        r"|use of closed network connection|stream error|bad record mac|" + _free("eof|goaway"),
        ErrorCode.NETWORK_ERROR,
        Retry.UNTIL_MENDED,
        "check this device's network, its proxy settings and the engine's own proxy settings",
    ),
    _rule(
        r"invalid reference format|invalid repository name|invalid tag format",
        ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID,
        Retry.NEVER,
        "correct the image's URI; `dockermgr parse` explains it",
    ),
    _rule(
        r"layers from manifest don't match|mediatype in manifest should be"
        r"|unsupported (?:docker v2s2 )?media type|unsupported image-specific operation on artifact"
        r"|unsupported schema|unknown blob|invalid checksum digest format"
        r"|\bv1 .* not supported",
        ErrorCode.DOCKER_IMAGE_NOT_VALID,
        Retry.NEVER,
        "the image is of a form that this engine cannot use; push it again with a current tool",
    ),
    _rule(
        _free(r"5\d\d"),
        ErrorCode.DOCKER_PULL_ERROR,
        Retry.LIMITED,
        "the registry has trouble of its own",
        ask_registry=True,
    ),
)

_QUERY = re.compile(r"(https?://[^\s\"?]+)\?[^\s\"]+")
"""Layers come from pre-signed URLs: what follows the question mark is a credential."""


def from_engine_text(text: str, *, http_status: int | None = None) -> DockermgrError:
    """The error for what an engine said while it pulled or logged in.

    `http_status` is the engine's own answer where there was one. A text that no rule knows is
    worth a limited number of attempts.
    """
    message = _tidy(text) or f"the engine answered HTTP {http_status} and no reason"
    after = retry_after_seconds(message)
    if http_status == 429:
        message = f"{message} (HTTP 429)"
    rule = _rule_for(message)
    if rule is not None:
        return _ruled(rule, message, after)
    if http_status == 404:
        return DockermgrError(
            ErrorCode.DOCKER_IMAGE_NOT_VALID, message, hint="check the image's name and tag"
        )
    return DockermgrError(
        ErrorCode.DOCKER_PULL_ERROR,
        message,
        hint="see the engine's own log (journalctl -u docker)",
        retry=Retry.LIMITED,
        retry_after_seconds=after,
    )


def in_the_registrys_words(
    error: DockermgrError, words: str, after_seconds: float | None
) -> DockermgrError:
    """`error` as the registry explains it, when asked by ourselves: what it says counts for more.

    But what time can mend stays so: who is asked in the midst of trouble may say anything.
    """
    said = _tidy(words)
    rule = _rule_for(said)
    if rule is not None and rule.retry is Retry.NEVER and error.retryable:
        said, rule = "", None
    rule = rule or _rule_for(error.message)
    if rule is None or not (said or after_seconds):
        return error
    message = f"{error.message}; the registry says: {said}" if said else error.message
    after = after_seconds if after_seconds is not None else retry_after_seconds(said)
    return _ruled(rule, message, after)


def of_login(error: DockermgrError) -> DockermgrError:
    """What `error` means in answer to a login: "denied" is then about no image."""
    if error.code is not ErrorCode.DOCKER_IMAGE_NOT_VALID:
        return error
    return DockermgrError(
        ErrorCode.DOCKER_LOGIN_ERROR,
        error.message,
        hint="the registry refused the credentials",
        credentials_refused=True,
    )


def _rule_for(message: str) -> _Rule | None:
    # Podman writes the tag as a word of its own.
    told = re.sub(r"reading manifest \S+ in ", "", message)
    return next((rule for rule in _RULES if rule.pattern.search(told)), None)


def _ruled(rule: _Rule, message: str, after_seconds: float | None) -> DockermgrError:
    return DockermgrError(
        rule.code,
        message,
        hint=rule.hint,
        retry=rule.retry,
        retry_after_seconds=after_seconds,
        credentials_refused=rule.credentials_refused,
        unresolved_name="no such host" in message,
        ask_registry=rule.ask_registry and after_seconds is None,
    )


def _tidy(text: str) -> str:
    """On one line, and without what follows the question mark of a pre-signed URL."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return _QUERY.sub(r"\1?…", " ".join(plain.split()))
