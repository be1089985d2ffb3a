"""The Docker client's config.json: whom it asks for credentials. Pure: text in, text out.

The text is edited in place, not parsed and written anew: what others wrote stays byte for byte.
Keys and their meaning: https://docs.docker.com/reference/cli/docker/login/#credential-stores
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

HELPER = "dockermgr"
"""As config.json names it; the program is `docker-credential-dockermgr`."""

_STORE, _HELPERS = "credsStore", "credHelpers"
_SPACE = re.compile(r"[ \t\n\r]*")
_MADE = "{}\n\n"
"""What a new file begins as. The empty line at its end tells `uninstalled` who made it."""


class DockerConfigError(ValueError):
    """The configuration cannot, or must not, be changed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One `"key": value` of an object, by places in the text.

    From `after`, the brace or comma before, there is white space to `start`.
    """

    key: str
    after: int
    start: int
    value: int
    end: int


def installed(text: str, hosts: Sequence[str]) -> str:
    """`text` with this program asked for `hosts`; without any, for all that no other is asked for.

    An empty text is a file that is not there. Raises DockerConfigError for a damaged one, and where
    another helper or a stored password would no longer count.
    """
    config = _read(text)
    text = text if text.strip() else _MADE
    if not hosts:
        _check(_STORE, config.get(_STORE, HELPER))
        auths = config.get("auths")
        kept = [host for host, entry in auths.items() if entry] if isinstance(auths, dict) else []
        if kept and _STORE not in config:
            raise DockerConfigError(
                f"the passwords kept for {', '.join(kept)} would no longer be used:"
                " name the ECR hosts to be asked for, or `docker logout` from these first"
            )
        return _with(text, _start(text), _STORE, json.dumps(HELPER))
    helpers = _helpers(config)
    for host in hosts:
        _check(f"{_HELPERS}.{host}", helpers.get(host, HELPER))
    text = _with(text, _start(text), _HELPERS, "{}")
    for host in hosts:
        text = _with(text, _value(text, _HELPERS), host, json.dumps(HELPER))
    return text


def uninstalled(text: str, hosts: Collection[str]) -> str:
    """`text` as before `installed`, for `hosts` only if there are any; empty if that made the file.

    Raises DockerConfigError for a damaged one.
    """
    config, before = _read(text), text
    left = dict(_helpers(config))
    for host, helper in _helpers(config).items():
        if helper == HELPER and (not hosts or host in hosts):
            text = _without(text, _value(text, _HELPERS), host)
            del left[host]
    if not left and config.get(_HELPERS):
        text = _without(text, _start(text), _HELPERS)
    if not hosts and config.get(_STORE) == HELPER:
        text = _without(text, _start(text), _STORE)
    return "" if text == _MADE != before else text


def helped_hosts(text: str) -> list[str]:
    """The hosts for which this program is asked by name. Raises DockerConfigError."""
    return [host for host, helper in _helpers(_read(text)).items() if helper == HELPER]


def _read(text: str) -> dict[str, object]:
    try:
        config = json.loads(text, object_pairs_hook=_once) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise DockerConfigError(f"it is damaged, mend it first: {error}") from error
    if not isinstance(config, dict):
        raise DockerConfigError("it is damaged, mend it first: it holds no JSON object")
    return config


def _once(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a key is there twice")
    return found


def _helpers(config: dict[str, object]) -> dict[str, object]:
    helpers = config.get(_HELPERS, {})
    if not isinstance(helpers, dict):
        raise DockerConfigError(f"{_HELPERS} is not an object, mend it first")
    return helpers


def _check(key: str, helper: object) -> None:
    if helper != HELPER:
        raise DockerConfigError(
            f"{key} is {json.dumps(helper)}, which is not replaced: remove it first"
        )


def _start(text: str) -> int:
    return text.index("{")


def _value(text: str, key: str) -> int:
    return next(member.value for member in _members(text, _start(text)) if member.key == key)


def _members(text: str, opening: int) -> list[_Member]:
    """The members of the object that opens there, in a text that is known to be JSON."""
    decoder, found = json.JSONDecoder(), []
    after = opening + 1
    start = _skip(text, after)
    while text[start] != "}":
        key, end = decoder.raw_decode(text, start)
        value = _skip(text, _skip(text, end) + 1)
        _, end = decoder.raw_decode(text, value)
        found.append(_Member(key, after, start, value, end))
        after = _skip(text, end)
        if text[after] == "}":
            break
        after += 1
        start = _skip(text, after)
    return found


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _with(text: str, opening: int, key: str, value: str) -> str:
    """With a member more at the end, on a line of its own if the others are; as it is if it has it."""
    members = _members(text, opening)
    if any(member.key == key for member in members):
        return text
    added = f"{json.dumps(key)}: {value}"
    if members:
        last = members[-1]
        return f"{text[: last.end]},{text[last.after : last.start]}{added}{text[last.end :]}"
    line, indent = _layout(text)
    if opening != _start(text):
        line += indent
    end = line.removesuffix(indent) + text[_skip(text, opening + 1) :]
    return f"{text[: opening + 1]}{line}{added}{end}"


def _layout(text: str) -> tuple[str, str]:
    """What stands before a top-level key, and what a level more is indented by; docker uses a tab."""
    first = next(iter(_members(text, _start(text))), None)
    line = text[first.after : first.start] if first else "\n\t"
    return line, line.rpartition("\n")[2] if "\n" in line else ""


def _without(text: str, opening: int, key: str) -> str:
    members = _members(text, opening)
    at = next(at for at, member in enumerate(members) if member.key == key)
    if at:
        return text[: members[at - 1].end] + text[members[at].end :]
    if len(members) > 1:
        return text[: members[0].start] + text[members[1].start :]
    return text[: opening + 1] + text[_skip(text, members[0].end) :]
