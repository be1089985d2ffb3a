"""What a registry itself says when it refuses, where the engine keeps that to itself.

No engine hands on the header `Retry-After`. containerd asks for manifests with HEAD, and so is told no
reason. None of them names the platforms that an image is published for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dockermgr.classify import in_the_registrys_words
from dockermgr.errors import DockermgrError
from dockermgr.manifest import ManifestUnavailable, fetch_manifest

if TYPE_CHECKING:
    from dockermgr.cancellation import Cancellation
    from dockermgr.credentials import Credential
    from dockermgr.image import ImageRequest

_LONGEST_WORDS = 500


def explained(
    error: DockermgrError,
    request: ImageRequest,
    credential: Credential | None,
    platform: str,
    cancellation: Cancellation,
) -> DockermgrError:
    """`error`, with what the registry says for itself: one question, asked only where it may help."""
    if not error.ask_registry:
        return error
    try:
        fetch_manifest(
            request.reference, request.registry, credential, platform, cancellation=cancellation
        )
    except ManifestUnavailable as refusal:
        return in_the_registrys_words(error, refusal.words, refusal.retry_after_seconds)
    except DockermgrError as told:
        return told
    return error


def words_of(body: bytes) -> str:
    """The errors in a registry's answer, as engines write them: `denied: …` (distribution-spec, "Error
    Codes"); empty for anything else."""
    try:
        errors = json.loads(body, parse_int=str)["errors"]
        words = "; ".join(_sentence(error) for error in errors)
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return words[:_LONGEST_WORDS]


def _sentence(error: Mapping[str, object]) -> str:
    return f"{str(error['code']).lower().replace('_', ' ')}: {error.get('message', '')}"
