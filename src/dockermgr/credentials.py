"""Credentials for each kind of registry: in memory only, fetched once, refreshed early, checked once.

ECR tokens go to ECR hosts only: what decides is the registry's kind, matched on the whole host.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from dockermgr.config import RegistryConfig
from dockermgr.ecr import PUBLIC, EcrToken
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.redact import forget_secret, remember_secret
from dockermgr.registry import Registry, RegistryKind
from dockermgr.singleflight import SingleFlight

log = logging.getLogger(__name__)

REFRESH_AT_SHARE = 0.5
"""Of a token's life, as the ECR credential helper does: half of it is left for when ECR is away."""
REFRESH_JITTER = 0.1
"""So that a fleet that booted together does not ask together."""
REFRESH_AGAIN_SECONDS = 60.0
"""After an early refresh that failed: each try is a process, and may take a minute or two."""
LEAST_LIFE_SECONDS = 300.0
"""A device's clock may be off by years, and an `expiresAt` in the past must not mean a token for each
pull. A token kept too long costs one refused attempt, after which it is fetched anew."""

_PERHAPS_PRIVATE = frozenset({ErrorCode.DOCKER_LOGIN_ERROR, ErrorCode.DOCKER_IMAGE_NOT_VALID})
"""What registries say of an image that not everybody may read."""

NO_PUBLIC_TOKEN_SECONDS = 600.0
"""So long ECR Public is not asked again for a token that it, or TES, did not give."""


@dataclass(frozen=True, slots=True)
class Credential:
    """User name and password for a registry."""

    username: str
    password: str = field(repr=False)


SecretReader = Callable[[str], str]
"""The text of a Secrets Manager secret, by its ARN; raises `DockermgrError`."""


class TokenFetcher(Protocol):
    """Gets an ECR token from AWS."""

    def fetch(self, region: str, *, fips: bool) -> EcrToken: ...


@dataclass(frozen=True, slots=True)
class _Cached:
    credential: Credential
    refresh_at: float
    expires_at: float


_Key = tuple[str, bool]


class EcrTokens:
    """One token per Region serves every registry that the role may read there.

    Never keyed by access key: TES rotates those.
    """

    def __init__(
        self, fetcher: TokenFetcher, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._lock = threading.Lock()
        self._cache: dict[_Key, _Cached] = {}
        self._flights: SingleFlight[_Key, Credential] = SingleFlight()

    def get(self, region: str, *, fips: bool = False) -> Credential:
        """A usable token; asks AWS only when there is none, or half of its life is over."""
        key = (region, fips)
        with self._lock:
            cached = self._cache.get(key)
        if cached is not None and self._clock() < cached.refresh_at:
            return cached.credential
        return self._flights.run(key, lambda: self._fetch(key))

    def _fetch(self, key: _Key) -> Credential:
        with self._lock:
            old = self._cache.get(key)
        now = self._clock()
        if old is not None and now < old.refresh_at:
            return old.credential  # fetched by the flight that landed just before ours began
        try:
            token = self._fetcher.fetch(key[0], fips=key[1])
        except DockermgrError as error:
            if old is not None and now < old.expires_at:
                log.warning("keeping the old ECR token region=%s reason=%s", key[0], error)
                again_at = now + REFRESH_AGAIN_SECONDS
                with self._lock:
                    if self._cache.get(key) is old:
                        self._cache[key] = replace(old, refresh_at=again_at)
                return old.credential
            raise
        credential = Credential(token.username, token.password)
        remember_secret(credential.password)
        life = max(token.expires_at - time.time(), LEAST_LIFE_SECONDS)
        share = REFRESH_AT_SHARE * random.uniform(1 - REFRESH_JITTER, 1 + REFRESH_JITTER)  # noqa: S311
        refresh_after = max(life * share, LEAST_LIFE_SECONDS)
        with self._lock:
            self._cache[key] = _Cached(credential, now + refresh_after, now + life)
        if old is not None and old.credential != credential:
            forget_secret(old.credential.password)
        log.info("fetched an ECR token region=%s life_s=%d", key[0], life)
        return credential

    def invalidate(self, credential: Credential) -> None:
        """`credential` was refused: the next `get` asks AWS. A newer token is left alone."""
        with self._lock:
            for key, cached in list(self._cache.items()):
                if cached.credential is credential:
                    del self._cache[key]


class Credentials:
    """What to sign in with at a registry, checked with the registry once per credential."""

    def __init__(
        self,
        ecr_tokens: EcrTokens,
        login: Callable[[str, Credential], None],
        *,
        public_tokens: bool = False,
    ) -> None:
        """`public_tokens`: there are AWS credentials, so that ECR Public can be asked for a token."""
        self._ecr_tokens = ecr_tokens
        self._login = login
        self._public_tokens = public_tokens
        self._no_public_token_until = 0.0
        self._read_secret: SecretReader | None = None
        self._registries: Mapping[str, RegistryConfig] = {}
        self._flights: SingleFlight[tuple[str, Credential], None] = SingleFlight()
        self._logged_in: dict[str, Credential] = {}
        self._refusals: dict[str, DockermgrError] = {}

    def use_secrets(self, read: SecretReader) -> None:
        """Gives access to Secrets Manager, which only the component itself has."""
        self._read_secret = read

    def configure(self, registries: Mapping[str, RegistryConfig]) -> None:
        """Takes the `registries` of the configuration."""
        self._registries = registries

    def sign_in(self, registry: Registry) -> Credential | None:
        """The credential to pull with, None for an anonymous pull.

        Raises GET_ECR_CREDENTIAL_ERROR and its like when there should be one and is none, and
        DOCKER_LOGIN_ERROR when a private ECR refuses it. Elsewhere a refused one is set aside with a
        warning: the image may be public.
        """
        credential = self._credential(registry)
        if credential is None:
            self._refusals.pop(registry.host, None)
            return None
        try:
            self._checked(registry.host, credential)
        except DockermgrError as error:
            if not error.credentials_refused:
                raise
            if not self.refused(registry, credential):
                log.warning("refused, going on without credentials registry=%s error=%s",
                            registry.host, error)  # fmt: skip
                if registry.host in self._registries:
                    self._refusals[registry.host] = error
                return None
            credential = self._credential(registry)
            if credential is not None:
                self._checked(registry.host, credential)
        return credential

    def explained(self, error: DockermgrError, host: str) -> DockermgrError:
        """What `error` of a pull means where the credentials configured for `host` were set aside."""
        refusal = self._refusals.get(host)
        if refusal is None or error.code not in _PERHAPS_PRIVATE:
            return error
        return DockermgrError(
            refusal.code,
            f"{refusal.message}; and without credentials: {error.message}",
            hint=f"correct the credentials of {host} under `registries` in the configuration",
        )

    def _credential(self, registry: Registry) -> Credential | None:
        if registry.kind is RegistryKind.ECR_PRIVATE and registry.region is not None:
            return self._ecr_tokens.get(registry.region, fips=bool(registry.fips))
        configured = self._registries.get(registry.host)
        if configured is not None and configured.secret_arn:
            return _from_secret(registry.host, configured.secret_arn, self._read_secret)
        if configured is not None and configured.username:
            return _from_file(registry.host, configured)
        return self._public_token() if registry.kind is RegistryKind.ECR_PUBLIC else None

    def _public_token(self) -> Credential | None:
        """ECR Public allows more to who signs in; who cannot is served all the same."""
        if not self._public_tokens or time.monotonic() < self._no_public_token_until:
            return None
        try:
            return self._ecr_tokens.get(PUBLIC)
        except DockermgrError as error:
            self._no_public_token_until = time.monotonic() + NO_PUBLIC_TOKEN_SECONDS
            log.info("pulling from ECR Public without a token reason=%s", error)
            return None

    def _checked(self, host: str, credential: Credential) -> None:
        if self._logged_in.get(host) != credential:
            self._flights.run((host, credential), lambda: self._check(host, credential))

    def _check(self, host: str, credential: Credential) -> None:
        if self._logged_in.get(host) == credential:
            return
        self._login(host, credential)
        self._refusals.pop(host, None)
        self._logged_in[host] = credential
        log.info("signed in registry=%s user=%s", host, credential.username)

    def refused(self, registry: Registry, credential: Credential) -> bool:
        """The registry did not take `credential` any more: forget it. True when a fresh one may help."""
        self._logged_in.pop(registry.host, None)
        self._ecr_tokens.invalidate(credential)
        if registry.kind is not RegistryKind.ECR_PRIVATE:
            return False
        log.info("a token was refused, asking for a fresh one registry=%s", registry.host)
        return True


def _from_secret(host: str, arn: str, read: SecretReader | None) -> Credential:
    hint = f"correct registries.{host}.secretArn, or what the secret holds"
    if read is None:
        raise DockermgrError(
            ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID,
            f"the credentials of {host} are a secret, which only the component itself can read",
            hint="let the component pull the image: name it in its configuration",
        )
    text = read(arn)
    try:
        content = json.loads(text)
        username, password = content["username"], content["password"]
        if not (isinstance(username, str) and isinstance(password, str) and password):
            raise ValueError(arn)  # noqa: TRY301
    except (ValueError, KeyError, TypeError):
        raise DockermgrError(
            ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID,
            f'the secret of registry {host} is not {{"username": …, "password": …}}',
            hint=hint,
        ) from None  # the secret itself may be in the exception's text
    remember_secret(password)
    return Credential(username, password)


def _from_file(host: str, configured: RegistryConfig) -> Credential:
    """Read at each use, so that a rotated password counts at once."""
    try:
        password = Path(configured.password_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DockermgrError(
            ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID,
            f"the password file of registry {host} cannot be read: {error}",
            hint=f"correct registries.{host}.passwordFile, or let the component's user read the file",
        ) from error
    remember_secret(password)
    return Credential(configured.username, password)
