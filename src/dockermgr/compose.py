"""Compose files: which images they name, where they are wrong, and what is added. Pure.

Compose itself resolves them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import yaml

from dockermgr.config import ImageSpec
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.passthrough import FORWARD_NETWORK, Passthrough
from dockermgr.policy import PullPolicy
from dockermgr.reference import URI_SCHEME

_POLICIES = {
    "always": PullPolicy.ALWAYS,
    "never": PullPolicy.NEVER,
    "missing": PullPolicy.IF_NOT_PRESENT,
    "if_not_present": PullPolicy.IF_NOT_PRESENT,
}
"""`pull_policy` (Compose specification, "services")."""
_PATH = re.compile(r"\bservices(?:\.[\w-]+)+")
_KEY = re.compile(r"(?:'|[Pp]ropert(?:y|ies) '?)([\w-]+)")
"""`Unsupported config option for services.web: 'imagee'` (v1), `Additional property imagee` (v2)."""


@dataclass(frozen=True, slots=True)
class ComposeService:
    """A service that is to run, with its image; None for one that Compose builds."""

    name: str
    image: ImageSpec | None
    has_init: bool = False
    """The file itself says whether it runs under an init process."""


def parse_services(resolved: str, profiles: Collection[str]) -> tuple[ComposeService, ...]:
    """The services of what `config` printed, without those of profiles that are not asked for.

    Compose v1 prints the latter, too. Raises COMPONENT_CONFIGURATION_NOT_VALID.
    """
    try:
        services = yaml.safe_load(resolved)["services"]
        return tuple(
            _service(str(name), described)
            for name, described in services.items()
            if _is_wanted(described.get("profiles") or (), profiles)
        )
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise invalid(f"what Compose made of the file cannot be read: {error}") from error


def _is_wanted(its_own: Collection[str], profiles: Collection[str]) -> bool:
    return not its_own or "*" in profiles or not set(profiles).isdisjoint(its_own)


def _service(name: str, described: Mapping[str, object]) -> ComposeService:
    image = described.get("image")
    policy = str(described.get("pull_policy") or "")
    if "build" in described or policy == "build" or not isinstance(image, str):
        return ComposeService(name, None, "init" in described)
    platform = described.get("platform")
    return ComposeService(
        name,
        ImageSpec(
            f"{URI_SCHEME}{image}",
            _POLICIES.get(policy),
            platform if isinstance(platform, str) else None,
        ),
        "init" in described,
    )


def syntax_problem(text: str) -> str | None:
    """`line 4, column 4: …` for a text that is no YAML, or no map of services."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        return f"{place}{reason}"
    if not isinstance(node, yaml.MappingNode):
        return "line 1: this is no Compose file, which is a map with the key services"
    return None


def place_of(complaint: str, text: str) -> str:
    """`line 3: ` of what Compose complains about (`services.web.ports must be a list`), or nothing."""
    found = _PATH.search(complaint)
    if found is None:
        return ""
    path = found[0].split(".")
    key = _KEY.search(complaint, found.end())
    line = _line(text, [*path, key[1]] if key else path)
    return f"line {line}: " if line else ""


def _line(text: str, path: list[str]) -> int:
    """Where the last part of `path` that is there begins; 0 when none is."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return 0
    line = 0
    for part in path:
        if not isinstance(node, yaml.MappingNode):
            break
        entries = {key.value: (key, value) for key, value in node.value}
        if part not in entries:
            break
        key, node = entries[part]
        line = key.start_mark.line + 1
    return line


def project_name(component: str) -> str:
    """The same for each version of a component: by default it is the folder's, which is the version.

    So `up` finds, and replaces, what an earlier version left. Empty outside of a component.
    """
    return re.sub(r"[^a-z0-9_-]+", "-", component.lower()).strip("-_")


def override(
    services: Sequence[ComposeService],
    given: Mapping[str, Passthrough],
    labels: Mapping[str, str],
    version: str | None,
) -> str:
    """A further Compose file that gives each of `services` what is `given` to it, `labels`, and an init
    process, without which few programs heed SIGTERM.

    Values of variables are not in it: Compose takes those from its own environment. `version` is the
    main file's, which v1 wants to be the same. A service may name its networks by itself, so that of
    a forwarder is one more.
    """
    document: dict[str, object] = {"version": version} if version else {}
    document["services"] = {
        service.name: _addition(service, given[service.name], labels) for service in services
    }
    if any(each.network == FORWARD_NETWORK for each in given.values()):
        document["networks"] = {FORWARD_NETWORK: {"external": True}}
    return json.dumps(document, indent=1)  # JSON is YAML


def _addition(
    service: ComposeService, given: Passthrough, labels: Mapping[str, str]
) -> dict[str, object]:
    added: dict[str, object] = {"labels": dict(labels)}
    if not service.has_init:
        added["init"] = True
    if given.variables:
        added["environment"] = list(given.variables)
    if given.mounts:
        added["volumes"] = [
            {"type": "bind", "source": path, "target": path} for path in given.mounts
        ]
    if given.network == FORWARD_NETWORK:
        added["networks"] = {"default": {}, FORWARD_NETWORK: {}}
    elif given.network is not None:
        added["network_mode"] = given.network
    return added


def declared_version(text: str) -> str | None:
    """The `version` that a Compose file begins with; None without one, or for nonsense."""
    try:
        version = yaml.safe_load(text).get("version")
    except (yaml.YAMLError, AttributeError):
        return None
    return str(version) if version is not None else None


def invalid(message: str) -> DockermgrError:
    """A Compose file that cannot be used."""
    return DockermgrError(
        ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID, message, hint="correct the Compose file"
    )
