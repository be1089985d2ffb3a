"""From what is wanted and what is being worked on to what has to be done: pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from dockermgr.config import ImageSpec
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.image import ImageRequest
from dockermgr.policy import PullPolicy, effective_policy
from dockermgr.reference import InvalidReference, parse_uri
from dockermgr.registry import classify


@dataclass(frozen=True, slots=True)
class Wanted:
    """One image that one component asks for."""

    component: str
    spec: ImageSpec

    @property
    def uri(self) -> str:
        """The image as its component writes it."""
        return self.spec.uri


@dataclass(frozen=True, slots=True)
class Actions:
    """What changes: requests to begin, work to end, images that nobody can parse."""

    start: tuple[Wanted, ...]
    stop: tuple[Wanted, ...]
    keep: tuple[Wanted, ...]


def plan(current: Iterable[Wanted], desired: Iterable[Wanted]) -> Actions:
    """Each wanted image once; an entry that changed in anything is stopped and started anew."""
    current, wanted = tuple(current), tuple(dict.fromkeys(desired))
    wanted_set, current_set = set(wanted), set(current)
    return Actions(
        start=tuple(item for item in wanted if item not in current_set),
        stop=tuple(item for item in current if item not in wanted_set),
        keep=tuple(item for item in current if item in wanted_set),
    )


def fingerprint(images: Iterable[Wanted]) -> str:
    """Stands for what is wanted, in any order, and for the same in each version of this program.

    It is kept in the state file. An option that has its default does not count, so that one which
    a later version brings changes nothing.
    """
    texts = sorted(
        json.dumps([item.component, item.spec.uri, _chosen(item.spec)], sort_keys=True)
        for item in images
    )
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _chosen(spec: ImageSpec) -> dict[str, str]:
    values = ((each, getattr(spec, each.name)) for each in fields(spec) if each.name != "uri")
    return {
        each.name: getattr(value, "value", str(value))
        for each, value in values
        if value != each.default
    }


def desired_images(
    own_component: str,
    own: Iterable[ImageSpec],
    dependents: Mapping[str, Iterable[ImageSpec]],
) -> tuple[Wanted, ...]:
    """The component's own list, then those of the components it follows."""
    found = [Wanted(own_component, spec) for spec in own]
    for component, specs in dependents.items():
        found += [Wanted(component, spec) for spec in specs]
    return tuple(found)


def to_request(
    spec: ImageSpec, default_policy: PullPolicy | None, component: str | None = None
) -> ImageRequest:
    """The request for an entry. Raises DOCKER_ARTIFACT_URI_NOT_VALID."""
    try:
        reference = parse_uri(spec.uri)
    except InvalidReference as error:
        raise DockermgrError(
            ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID,
            str(error),
            hint="correct the URI; `dockermgr parse` shows how one is read",
        ) from error
    return ImageRequest(
        uri=spec.uri,
        reference=reference,
        registry=classify(reference.registry),
        policy=effective_policy(reference, spec.pull_policy, default_policy),
        platform=spec.platform,
        component=component,
    )
