"""Reads manifests and configurations out of a registry (OCI distribution-spec, "Pull")."""

from __future__ import annotations

import base64
import contextlib
import json
import urllib.parse

from dockermgr import registry_auth
from dockermgr.cancellation import Cancellation
from dockermgr.credentials import Credential
from dockermgr.manifest import ManifestUnavailable
from dockermgr.reference import Reference
from dockermgr.refusal import words_of
from dockermgr.registry import Registry, RegistryKind
from dockermgr.registry_transport import Answer, Transport, is_loopback, origin_of, trust
from dockermgr.retry_after import header_seconds

DOCKER_HUB_API = "registry-1.docker.io"
"""What the engine asks for docker.io (moby, registry/config.go, DefaultV2Registry)."""

_MAX_TOKEN_ANSWER_BYTES = 256 * 1024
_MAX_STEPS = 4
"""One to be told how to sign in, two redirections (registries need one, for blobs), and the answer."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RegistryClient(contextlib.AbstractContextManager["RegistryClient"]):
    """One repository of a registry, for a few questions on one connection."""

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
        self._basic = _basic_authorization(credential) if credential else ""
        # A private ECR always asks for it, so the round trip for the question is saved.
        self._authorization = self._basic if registry.kind is RegistryKind.ECR_PRIVATE else ""
        is_hub = registry.kind is RegistryKind.DOCKER_HUB
        self._origin = origin_of(f"https://{DOCKER_HUB_API if is_hub else registry.host}")
        self._may_lack_tls = registry.insecure or is_loopback(self._origin)
        context = trust(reference.registry, insecure=registry.insecure)
        self._parts = contextlib.ExitStack()
        self._transport = self._parts.enter_context(
            contextlib.closing(Transport(context, timeout_seconds))
        )
        if cancellation is not None:
            self._parts.enter_context(cancellation.calling(self._transport.abort))

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def get(self, path: str, accept: str, limit_bytes: int) -> Answer:
        """What the registry has at `path` of the repository. Raises `ManifestUnavailable`."""
        self._settle_scheme()
        url = f"{self._origin}/v2/{self._repository}/{path}"
        for _ in range(_MAX_STEPS):
            # Storage elsewhere has its own way in, in the URL.
            own = origin_of(url) == self._origin
            authorization = self._authorization if own else ""
            answer = self._transport.get(url, accept, authorization, limit_bytes)
            if answer.status == 401 and own and authorization in ("", self._basic):
                self._authorization = self._authorize(answer)
            elif answer.status in _REDIRECTS:
                url = _followed(url, answer.headers.get("Location", ""))
            else:
                break
        if answer.status != 200:
            raise _refusal(f"{origin_of(url)} answered HTTP {answer.status}", answer)
        return answer

    def _settle_scheme(self) -> None:
        """Without TLS where there is none: as the engine does it, for the same registries."""
        if self._may_lack_tls:
            self._may_lack_tls = False
            try:
                self._transport.get(f"{self._origin}/v2/", "*/*", "", _MAX_TOKEN_ANSWER_BYTES)
            except ManifestUnavailable:
                port = 80 if self._origin.port == 443 else self._origin.port
                self._origin = self._origin._replace(scheme="http", port=port)

    def _authorize(self, refusal: Answer) -> str:
        """What the registry wants to see, from its refusal. Raises `ManifestUnavailable`."""
        challenges = registry_auth.parse_challenges(refusal.headers.getlist("WWW-Authenticate"))
        for challenge in challenges:
            if challenge.scheme == "bearer" and (token := self._token(challenge)):
                return f"Bearer {token}"
        basic = any(challenge.scheme == "basic" for challenge in challenges)
        if basic and self._basic != self._authorization:
            return self._basic
        raise ManifestUnavailable(f"{self._origin} refused the credentials, or wants some")

    def _token(self, challenge: registry_auth.Challenge) -> str | None:
        url = registry_auth.token_url(challenge, self._repository)
        realm = origin_of(url)
        may = registry_auth.may_have_credential(self._registry, self._origin, realm)
        if (self._basic and not may) or (realm.scheme != "https" and realm != self._origin):
            return None
        answer = self._transport.get(url, "application/json", self._basic, _MAX_TOKEN_ANSWER_BYTES)
        if answer.status != 200:
            raise _refusal(f"{realm} gave no token: HTTP {answer.status}", answer)
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            return None
        return registry_auth.token_of(document) if isinstance(document, dict) else None


def _refusal(reason: str, answer: Answer) -> ManifestUnavailable:
    return ManifestUnavailable(
        reason,
        words=words_of(answer.body),
        retry_after_seconds=header_seconds(answer.headers),
    )


def _basic_authorization(credential: Credential) -> str:
    """RFC 7617; requests would not take every letter."""
    login = f"{credential.username}:{credential.password}"
    return f"Basic {base64.b64encode(login.encode()).decode('ascii')}"


def _followed(url: str, location: str) -> str:
    """Where a redirection leads; from https never to http."""
    try:
        there = urllib.parse.urljoin(url, location)
    except ValueError:
        there = ""
    if origin_of(there).scheme != "https" and origin_of(there) != origin_of(url):
        raise ManifestUnavailable(f"{origin_of(url)} redirects to somewhere without TLS")
    return there
