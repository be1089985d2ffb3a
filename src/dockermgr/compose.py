"""Compose files: which images they name, and where they are wrong. Pure; Compose itself resolves them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import yaml

from dockermgr.config import ImageSpec
from dockermgr.errors import DockermgrError, ErrorCode
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
_QUOTED_KEY = re.compile(r"'([\w-]+)'")


@dataclass(frozen=True, slots=True)
class ComposeService:
    """A service that is to run, with its image; None for one that Compose builds."""

    name: str
    image: ImageSpec | None


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
        return ComposeService(name, None)
    platform = described.get("platform")
    return ComposeService(
        name,
        ImageSpec(
            f"{URI_SCHEME}{image}",
            _POLICIES.get(policy),
            platform if isinstance(platform, str) else None,
        ),
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
    # "Unsupported config option for services.web: 'imagee'"
    key = _QUOTED_KEY.search(complaint, found.end())
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


def invalid(message: str) -> DockermgrError:
    """A Compose file that cannot be used."""
    return DockermgrError(
        ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID, message, hint="correct the Compose file"
    )
