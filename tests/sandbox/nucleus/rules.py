"""What a nucleus decides without any I/O: merging configuration, access control, topic filters.

The rules were read from the sources of aws-greengrass-nucleus ("Java") and aws-greengrass-lite
("Lite").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from tests.sandbox.nucleus.model import (
    OPERATION_NAMESPACE,
    Component,
    IpcError,
    KeyPath,
    Nucleus,
)
from tests.sandbox.nucleus.records import JsonObject

_ESCAPED_CHARACTER = re.compile(r"\$\{(.)\}")


def as_lite_recipe_configuration(configuration: Mapping[str, Any]) -> JsonObject:
    """`DefaultConfiguration` of a YAML recipe as Lite stores it: every scalar is a string.

    20 becomes "20", true "true", null "null". Lite keeps the types of JSON recipes and of
    configuration merges, so those need no conversion.
    """
    return {key: _as_lite_scalar(value) for key, value in configuration.items()}


def _as_lite_scalar(value: object) -> object:
    if isinstance(value, Mapping):
        return as_lite_recipe_configuration(value)
    if isinstance(value, list):
        return [_as_lite_scalar(item) for item in value]
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def find_value(tree: Mapping[str, Any], key_path: Sequence[str]) -> object:
    """The value at `key_path`. Raises KeyError where there is none."""
    value: object = tree
    for key in key_path:
        if not isinstance(value, Mapping):
            raise KeyError(key)
        value = value[key]
    return value


def merge_configuration(
    target: JsonObject, changes: Mapping[str, Any], path: KeyPath = ()
) -> list[KeyPath]:
    """Merges `changes` into `target` as a deployment does; returns the leaves that changed.

    Maps merge key by key; anything else, lists too, is replaced whole. A leaf written with the
    value that it has already is no change on either nucleus.
    """
    changed: list[KeyPath] = []
    for key, value in changes.items():
        here = (*path, key)
        present = target.get(key)
        if isinstance(value, Mapping):
            if not isinstance(present, dict):
                present = target[key] = {}
            changed += merge_configuration(present, value, here)
        elif key not in target or type(present) is not type(value) or present != value:
            target[key] = deepcopy(value)
            changed.append(here)
    return changed


def remove_configuration(target: JsonObject, key_path: KeyPath) -> bool:
    """Removes what is at `key_path` (all of it for an empty path). False: there was nothing."""
    if not key_path:
        had_any = bool(target)
        target.clear()
        return had_any
    try:
        parent = find_value(target, key_path[:-1])
    except KeyError:
        return False
    if not isinstance(parent, dict) or key_path[-1] not in parent:
        return False
    del parent[key_path[-1]]
    return True


def authorize(
    nucleus: Nucleus, component: Component, service: str, operation: str, resource: str
) -> None:
    """Raises IpcError unless the component may do `operation` (short name) on `resource`."""
    if is_authorized(component.access_control, service, operation, resource):
        return
    if nucleus.is_lite:
        raise IpcError("UnauthorizedError", "IPC Operation not authorized.")
    raise IpcError(
        "UnauthorizedError",
        f"Principal {component.name} is not authorized to perform"
        f" {service}:{OPERATION_NAMESPACE}{operation} on resource {resource}",
    )


def is_authorized(
    access_control: Mapping[str, Any], service: str, operation: str, resource: str
) -> bool:
    """Whether an `accessControl` block allows `operation` (short name) on `resource`.

    In a policy's resource `*` stands for anything. `+` and `#` count as wildcards for the MQTT
    proxy only; for local topics both nuclei compare them literally (`WildcardTrie` of Java,
    `ipc_authz.c` of Lite).
    """
    mqtt_wildcards = service == "aws.greengrass.ipc.mqttproxy"
    for policy in access_control.get(service, {}).values():
        if {"*", OPERATION_NAMESPACE + operation}.isdisjoint(policy.get("operations", ())):
            continue
        resources = policy.get("resources", ())
        if any(_resource_pattern(item, mqtt_wildcards).fullmatch(resource) for item in resources):
            return True
    return False


def _resource_pattern(resource: str, mqtt_wildcards: bool) -> re.Pattern[str]:
    pattern = ""
    position = 0
    while position < len(resource):
        escaped = _ESCAPED_CHARACTER.match(resource, position)
        if escaped:
            pattern += re.escape(escaped[1])
            position = escaped.end()
            continue
        character = resource[position]
        starts_level = position == 0 or resource[position - 1] == "/"
        following = resource[position + 1 : position + 2]
        if character == "*" or (
            mqtt_wildcards and character == "#" and starts_level and not following
        ):
            pattern += ".*"
        elif mqtt_wildcards and character == "+" and starts_level and following in ("", "/"):
            pattern += "[^/]*"
        else:
            pattern += re.escape(character)
        position += 1
    return re.compile(pattern, re.DOTALL)


def has_mqtt_wildcard(topic_filter: str) -> bool:
    """Whether a subscription's filter has a `+` level, or a `#` as its last level."""
    levels = topic_filter.split("/")
    return "+" in levels or levels[-1] == "#"


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether an MQTT topic filter takes a topic (MQTT 3.1.1, section 4.7)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        if len(levels) < len(wanted):
            return False
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(
        want in ("+", level) for want, level in zip(wanted, levels, strict=True)
    )


def count_subobjects(value: object) -> int:
    """What Lite counts in a document: the items of lists, the keys and values of maps."""
    if isinstance(value, Mapping):
        return 2 * len(value) + sum(count_subobjects(item) for item in value.values())
    if isinstance(value, list):
        return len(value) + sum(count_subobjects(item) for item in value)
    return 0
