"""How registries ask for credentials, and who may get them.

Basic as ECR wants it (RFC 7617), and tokens as Docker Hub wants them (distribution,
docs/spec/auth/token.md). A registry's credential goes to the registry itself, and to the token
server that it names, as with the engine; one of ECR goes to its own host and nowhere else.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dockermgr.registry import Registry, is_ecr
from dockermgr.registry_transport import Origin, origin_of

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # RFC 9110, 5.6.2: a word of a header
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=[\s,]|$)")
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_ESCAPED = re.compile(r"\\(.)")
_USABLE_TOKEN = re.compile(r"[!-~]{1,32768}")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a registry offers, both names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges of `WWW-Authenticate` headers (RFC 9110, 11.6.1), as far as they make sense."""
    found: list[Challenge] = []
    for header in headers:
        position = 0
        while scheme := _SCHEME.match(header, position):
            position = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, position):
                position = parameter.end()
                name, quoted, plain = parameter.groups()
                value = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
                parameters.setdefault(name.lower(), value)
            found.append(Challenge(scheme[1].lower(), parameters))
    return found


def may_have_credential(registry: Registry, registry_origin: Origin, realm: Origin) -> bool:
    """Whether the registry's credential may go to the token server at `realm` (over TLS)."""
    return realm == registry_origin or not is_ecr(registry.kind)


def token_url(challenge: Challenge, repository: str) -> str:
    """Where to ask for a token that reads `repository`. Raises `ManifestUnavailable`."""
    realm = challenge.parameters.get("realm", "")
    origin_of(realm)
    parts = urllib.parse.urlsplit(realm)
    wanted = {"scope": f"repository:{repository}:pull"}
    if service := challenge.parameters.get("service"):
        wanted["service"] = service
    query = "&".join(filter(None, (parts.query, urllib.parse.urlencode(wanted))))
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))


def token_of(answer: Mapping[str, object]) -> str | None:
    """The token in a token server's answer, None when there is none to use."""
    token = answer.get("token") or answer.get("access_token")
    return token if isinstance(token, str) and _USABLE_TOKEN.fullmatch(token) else None
