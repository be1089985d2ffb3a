"""Reads manifests and configurations out of a registry (OCI distribution-spec, "Pull")."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.parse
from dataclasses import dataclass
from types import TracebackType

import dockermgr
from dockermgr.cancellation import Cancellation
from dockermgr.credentials import Credential
from dockermgr.manifest import ManifestUnavailable
from dockermgr.reference import Reference
from dockermgr.refusal import words_of
from dockermgr.registry import Registry, RegistryKind
from dockermgr.registry_auth import (
    Challenge,
    may_have_credential,
    parse_challenges,
    token_of,
    token_url,
)
from dockermgr.registry_transport import Origin, Transport, basic_authorization, origin_of, trust
from dockermgr.retry_after import header_seconds

DOCKER_HUB_API = "registry-1.docker.io"
"""What the engine asks for docker.io (moby, registry/config.go, DefaultV2Registry)."""

_MAX_TOKEN_ANSWER_BYTES = 256 * 1024
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: its body is whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def content_type(self) -> str:
        """As the server writes it."""
        return self.headers.get("Content-Type", "")


class RegistryClient:
    """One repository of a registry, for a few questions on one connection; a context manager."""

    def __init__(
        self,
        reference: Reference,
        registry: Registry,
        credential: Credential | None,
        timeout_seconds: float,
        cancellation: Cancellation | None = None,
    ) -> None:
        self._repository = reference.repository
        self._registry = registry
        self._credential = credential
        self._authorization = ""
        is_hub = registry.kind is RegistryKind.DOCKER_HUB
        self._origin = origin_of(f"https://{DOCKER_HUB_API if is_hub else registry.host}")
        self._parts = contextlib.ExitStack()
        self._transport = self._parts.enter_context(
            Transport(trust(reference.registry), timeout_seconds)
        )
        if cancellation is not None:
            self._parts.enter_context(cancellation.calling(self._transport.abort))
        if registry.kind is RegistryKind.ECR_PRIVATE:
            # It always asks for it, so the round trip for the question is saved.
            self._authorization = self._basic()

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._parts.close()

    def get(self, path: str, accept: str, limit_bytes: int) -> Answer:
        """What the registry has at `path` of the repository. Raises `ManifestUnavailable`."""
        if self._origin.is_loopback and self._origin.scheme == "https":
            self._origin = self._open_loopback(self._origin)
        origin = self._origin
        target = urllib.parse.quote(f"/v2/{self._repository}/{path}", safe="/:")
        answer = self._ask(origin, target, accept, self._authorization, limit_bytes)
        if answer.status == 401:
            self._authorization = self._authorize(answer)
            answer = self._ask(origin, target, accept, self._authorization, limit_bytes)
        for _ in range(_MAX_REDIRECTS):
            if answer.status not in _REDIRECTS:
                break
            origin, target = _followed(origin, target, answer.headers.get("Location", ""))
            # Storage elsewhere has its own way in, in the URL.
            authorization = self._authorization if origin == self._origin else ""
            answer = self._ask(origin, target, accept, authorization, limit_bytes)
        if answer.status != 200:
            raise _refusal(f"{origin.authority} answered HTTP {answer.status}", answer)
        return answer

    def _open_loopback(self, origin: Origin) -> Origin:
        """Without TLS where there is none, as the engine, and on this very machine only."""
        try:
            self._transport.connection(origin)
        except ManifestUnavailable:
            return Origin("http", origin.host, 80 if origin.port == 443 else origin.port)
        return origin

    def _authorize(self, refusal: Answer) -> str:
        """What the registry wants to see, from its refusal. Raises `ManifestUnavailable`."""
        challenges = parse_challenges(refusal.headers.get_all("WWW-Authenticate", []))
        for challenge in challenges:
            if challenge.scheme == "bearer" and (token := self._token(challenge)):
                return f"Bearer {token}"
        basic = self._basic()
        if any(challenge.scheme == "basic" for challenge in challenges) and (
            basic not in ("", self._authorization)
        ):
            return basic
        raise ManifestUnavailable(
            f"{self._origin.authority} refused the credentials, or wants some"
        )

    def _token(self, challenge: Challenge) -> str | None:
        url = token_url(challenge, self._repository)
        realm = origin_of(url)
        if realm.scheme != "https":
            return None
        if self._credential is not None and not may_have_credential(
            self._registry, self._origin, realm
        ):
            return None
        answer = self._ask(
            realm, _target(url), "application/json", self._basic(), _MAX_TOKEN_ANSWER_BYTES
        )
        if answer.status != 200:
            raise _refusal(f"{realm.authority} gave no token: HTTP {answer.status}", answer)
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            return None
        return token_of(document) if isinstance(document, dict) else None

    def _basic(self) -> str:
        if self._credential is None:
            return ""
        return basic_authorization(f"{self._credential.username}:{self._credential.password}")

    def _ask(
        self, origin: Origin, target: str, accept: str, authorization: str, limit_bytes: int
    ) -> Answer:
        connection = self._transport.connection(origin)
        headers = {"Accept": accept, "User-Agent": f"dockermgr/{dockermgr.__version__}"}
        if authorization:
            headers["Authorization"] = authorization
        try:
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            body = _read(response, limit_bytes)
        except (OSError, ValueError, http.client.HTTPException) as error:
            connection.close()
            raise self._transport.failure(origin, error) from None
        if self._transport.aborted:
            raise self._transport.failure(origin, TimeoutError())
        return Answer(response.status, response.headers, body)


def _refusal(reason: str, answer: Answer) -> ManifestUnavailable:
    return ManifestUnavailable(
        reason,
        words=words_of(answer.body),
        retry_after_seconds=header_seconds(answer.headers),
    )


def _read(response: http.client.HTTPResponse, limit_bytes: int) -> bytes:
    """To its end, without which the connection can't be used again."""
    body = bytearray()
    while chunk := response.read(_CHUNK_BYTES):
        body += chunk
        if len(body) > limit_bytes:
            raise ManifestUnavailable(f"the answer has more than {limit_bytes} bytes")
    return bytes(body)


def _followed(origin: Origin, target: str, location: str) -> tuple[Origin, str]:
    """Where a redirection leads; from https never to http."""
    try:
        url = urllib.parse.urljoin(f"{origin.scheme}://{origin.authority}{target}", location)
    except ValueError:
        url = ""
    there = origin_of(url)
    if there.scheme != "https" and there != origin:
        raise ManifestUnavailable(f"{origin.authority} redirects to somewhere without TLS")
    return there, _target(url)


def _target(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
