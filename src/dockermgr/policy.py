"""Whether an image is wanted at all, allowed, and needs pulling: pure decisions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.reference import Reference


class PullPolicy(str, Enum):
    """When to ask the registry (the names are Kubernetes' `imagePullPolicy`)."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


def effective_policy(reference: Reference, *choices: PullPolicy | None) -> PullPolicy:
    """The first choice that was made; else Always for what moves by convention, IfNotPresent for the rest.

    An image without tag or digest means `latest`, which is pulled again each time (AWS IoT
    Greengrass developer guide, "Run a Docker container").
    """
    for choice in choices:
        if choice is not None:
            return choice
    if reference.digest is None and reference.effective_tag == "latest":
        return PullPolicy.ALWAYS
    return PullPolicy.IF_NOT_PRESENT


def _entry_pattern(entry: str) -> re.Pattern[str]:
    """`*` stands for characters of one label or path component; the entry covers what lies under it."""
    labels = "[^./]*".join(re.escape(part) for part in entry.strip("/").split("*"))
    return re.compile(rf"{labels}(?:/.*)?")


def check_allowed(reference: Reference, allowed: Sequence[str], *, require_digest: bool) -> None:
    """Raises REGISTRY_NOT_ALLOWED when the operator's configuration forbids this image.

    `allowed` holds `host` or `host/path` prefixes; empty allows every registry.
    """
    if allowed and not any(_entry_pattern(entry).fullmatch(reference.name) for entry in allowed):
        raise DockermgrError(
            ErrorCode.REGISTRY_NOT_ALLOWED,
            f"{reference.name} is not under any entry of allowedRegistries",
            hint="add its host, or host/path, to allowedRegistries in the manager's configuration",
        )
    if require_digest and reference.digest is None:
        raise DockermgrError(
            ErrorCode.REGISTRY_NOT_ALLOWED,
            f"{reference} has no digest, and requireDigest is on",
            hint="write the image as …@sha256:<digest>",
        )
