"""Image references: from the text of a recipe to registry, repository, tag and digest.

The grammar is the engine's own, github.com/distribution/reference: regexp.go for the parts,
normalize.go for familiar names. Where it is stricter here, the reason is given. Lengths are checked
before patterns, so no text, however long, is slow to read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

URI_SCHEME = "docker:"
DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"

_LEGACY_DEFAULT_REGISTRY = "index.docker.io"
_OFFICIAL_PREFIX = "library/"

_MAX_HOST_LENGTH = 253  # RFC 1035; upstream sets no limit, and the engine fails later
_MAX_PORT = 65535  # upstream takes any digits, and the engine fails later
_MAX_REPOSITORY_LENGTH = 255  # RepositoryNameTotalLengthMax, counted with "library/"
_MAX_TAG_LENGTH = 128
_DIGEST_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}  # registered by go-digest

_SCHEME = re.compile(URI_SCHEME, re.ASCII | re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,30}://", re.ASCII | re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[^!-~]")
_IMAGE_ID = re.compile(r"[a-f0-9]{64}")
_HOST_LABEL = re.compile(r"[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*")
_IPV6_HOST = re.compile(r"\[[A-Fa-f0-9:]+\]")
_PORT = re.compile(r"[0-9]+")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HEX = re.compile(r"[a-f0-9]+")


class InvalidReference(ValueError):  # noqa: N818 - what it is says more than Error
    """A text that names no image; the message says what is wrong, where, and how to mend it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image: where it is (`registry`, `repository`), and which one (`tag`, `digest`)."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """Registry and repository: `docker.io/library/nginx`."""
        return f"{self.registry}/{self.repository}"

    @property
    def effective_tag(self) -> str | None:
        """The tag, `latest` when there is neither tag nor digest, None for a digest alone."""
        if self.tag is None and self.digest is None:
            return DEFAULT_TAG
        return self.tag

    @property
    def familiar_name(self) -> str:
        """The name as the engine lists it, `nginx` (normalize.go, familiarizeName)."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        official = self.repository.removeprefix(_OFFICIAL_PREFIX)
        return self.repository if "/" in official else official

    @property
    def pull_selector(self) -> str:
        """What the engine is asked for: the digest, else the tag (normalize.go, ParseDockerRef)."""
        return self.digest or self.tag or DEFAULT_TAG

    def __str__(self) -> str:
        """The normal form: nothing left to assume, tag and digest both kept."""
        tag = f":{self.effective_tag}" if self.effective_tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def parse_uri(uri: str) -> Reference:
    """Reads an artifact URI: `docker:`, in any letter case, and a reference.

    Raises InvalidReference.
    """
    scheme = _SCHEME.match(uri)
    if scheme and not uri.startswith("//", scheme.end()):
        return parse_reference(uri[scheme.end() :])
    if not uri.strip():
        problem = "it is empty; write docker: and the image, for example docker:nginx:1.27"
    elif uri != uri.strip():
        problem = "there is white space around it; remove it"
    elif scheme:
        problem = f"docker: takes no slashes after it{_suggestion(uri[scheme.end() :].lstrip('/'))}"
    elif other := _OTHER_SCHEME.match(uri):
        problem = f"it does not start with docker:{_suggestion(uri[other.end() :])}"
    else:
        problem = f"it does not start with docker:{_suggestion(uri)}"
    raise InvalidReference(f"invalid image URI {_quoted(uri)}: {problem}")


def parse_reference(text: str) -> Reference:
    """Reads a reference as the engine does: `nginx` is `docker.io/library/nginx`.

    Raises InvalidReference.
    """
    if problem := _text_problem(text):
        raise _invalid(text, problem)
    registry, remainder = _split_registry(text)
    named, at, digest = remainder.partition("@")
    repository, colon, tag = named.partition(":")
    if problem := (
        _registry_problem(registry)
        or _repository_problem(repository)
        or (_tag_problem(tag) if colon else None)
        or (_digest_problem(digest) if at else None)
    ):
        raise _invalid(text, problem)
    return Reference(registry, repository, tag or None, digest or None)


def _split_registry(text: str) -> tuple[str, str]:
    """A registry is what stands before the first slash and looks like one.

    The same choice as in normalize.go, splitDockerDomain.
    """
    first, slash, rest = text.partition("/")
    is_registry = first == "localhost" or "." in first or ":" in first or first != first.lower()
    registry, remainder = (first, rest) if slash and is_registry else (DEFAULT_REGISTRY, text)
    if registry == _LEGACY_DEFAULT_REGISTRY:
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in remainder:
        remainder = _OFFICIAL_PREFIX + remainder
    return registry, remainder


def _text_problem(text: str) -> str | None:
    if not text:
        return "it is empty; write an image, for example nginx:1.27"
    if stray := _UNPRINTABLE.search(text):
        what = "white space" if stray[0].isspace() else "a character that no reference has"
        return f"character {stray.start() + 1}, {stray[0]!a}, is {what}; remove it"
    if _user_info_end(text):
        return "@ before a slash; remove user name and password, configure them for the registry"
    if scheme := _OTHER_SCHEME.match(text):
        return f"a reference has no scheme; remove {scheme[0]}"
    if _IMAGE_ID.fullmatch(text):
        return (
            "64 hexadecimal digits are an image's id; write its repository and a tag or @sha256:..."
        )
    return None


def _registry_problem(registry: str) -> str | None:
    host, colon, port = _split_port(registry)
    if len(host) > _MAX_HOST_LENGTH:
        return f"the registry's host has {len(host)} characters, more than {_MAX_HOST_LENGTH}"
    if not _IPV6_HOST.fullmatch(host) and not all(map(_HOST_LABEL.fullmatch, host.split("."))):
        # Upstream reads foo_bar.com/app as a repository without a registry: nothing can pull it.
        return (
            f"the registry {_part(host)} is no host name; use letters, digits, inner hyphens and "
            "single dots, or an IPv6 address in brackets"
        )
    if colon and not _PORT.fullmatch(port):
        return (
            f"the port {_part(port)} of the registry is no number; write digits (an IPv6 address "
            "needs brackets, and a tag has no slash)"
        )
    number = port.lstrip("0")
    if colon and not (0 < len(number) <= len(str(_MAX_PORT)) and int(number) <= _MAX_PORT):
        return f"the port {_part(port)} of the registry is not between 1 and {_MAX_PORT}"
    return None


def _split_port(registry: str) -> tuple[str, str, str]:
    if registry.startswith("["):
        address, bracket, rest = registry.partition("]")
        host, colon, port = rest.partition(":")
        return address + bracket + host, colon, port
    return registry.partition(":")


def _repository_problem(repository: str) -> str | None:
    if repository in ("", _OFFICIAL_PREFIX):
        return "the repository is missing; write registry/repository:tag"
    if len(repository) > _MAX_REPOSITORY_LENGTH:
        length = len(repository)
        return f"the repository has {length} characters, more than {_MAX_REPOSITORY_LENGTH}"
    for component in repository.split("/"):
        if not component:
            return "the repository has an empty part; write single slashes, none at the end"
        if component != component.lower() and _COMPONENT.fullmatch(component.lower()):
            lower = _part(component.lower())
            return f"the repository has upper case in {_part(component)}; write {lower}"
        if not _COMPONENT.fullmatch(component):
            return (
                f"{_part(component)} in the repository is not valid; use a-z and 0-9, and between "
                "them one of . _ __ or hyphens"
            )
    return None


def _tag_problem(tag: str) -> str | None:
    if not tag:
        return "the tag after ':' is missing; write it or remove the colon"
    if len(tag) > _MAX_TAG_LENGTH:
        return f"the tag has {len(tag)} characters, more than {_MAX_TAG_LENGTH}"
    if not _TAG.fullmatch(tag):
        return f"the tag {_part(tag)} is not valid; use letters, digits, _ . -, at first no . or -"
    return None


def _digest_problem(digest: str) -> str | None:
    algorithm, _, encoded = digest.partition(":")
    length = _DIGEST_HEX_LENGTHS.get(algorithm)
    if length is None:
        known = ", ".join(_DIGEST_HEX_LENGTHS)
        return f"the digest's algorithm {_part(algorithm)} is none of {known}; write @sha256:..."
    if len(encoded) != length:
        return (
            f"the {algorithm} digest has {len(encoded)} digits in place of {length}; copy it whole"
        )
    if not _HEX.fullmatch(encoded):
        return f"the {algorithm} digest has other characters than 0-9 and a-f; copy it again"
    return None


def _invalid(text: str, problem: str) -> InvalidReference:
    return InvalidReference(f"invalid image reference {_quoted(text)}: {problem}")


def _suggestion(text: str) -> str:
    try:
        parse_reference(text)
    except InvalidReference:
        return "; write docker: and the image, for example docker:nginx:1.27"
    return f"; write {_quoted(URI_SCHEME + text)}"


def _user_info_end(text: str) -> int:
    """Where `user:password` ends, or 0: an @ with a slash after it begins no digest."""
    slash = text.rfind("/")
    return max(text.rfind("@", 0, slash), 0) if slash > 0 else 0


def _part(text: str) -> str:
    return _quoted(text, limit=40)


def _quoted(text: str, limit: int = 100) -> str:
    """The text for a message: shortened, ASCII, control characters escaped, without a password."""
    if end := _user_info_end(text):
        text = f"***{text[end:]}"
    quoted = ascii(text[: limit + 1])
    if len(quoted) <= limit + 2:
        return quoted
    return f"{quoted[:limit]}...' ({len(text)} characters)"
