"""`docker-credential-dockermgr`: answers the Docker client when it asks for credentials.

The protocol (https://github.com/docker/docker-credential-helpers): a verb as argument, the request
on standard input; an answer or an error's text on standard output, and 1 as exit code for an error.
Nothing is kept: each `get` fetches a token.
"""

from __future__ import annotations

import json
import sys

from dockermgr.errors import DockermgrError
from dockermgr.registry import Registry, RegistryKind, classify, is_ecr

PROGRAM = "docker-credential-dockermgr"


class NotFoundError(Exception):
    """There are no credentials: the client goes on without. The text is what it looks for."""

    def __init__(self) -> None:
        super().__init__("credentials not found in native keychain")


class NotKeptError(Exception):
    """What was to be stored is not for Amazon ECR."""


def main() -> int:
    """The program itself, where pip installed it."""
    from dockermgr.cli import main as command_line

    return command_line(["credentials", *sys.argv[1:]])


def registry_of(server_url: str) -> Registry:
    """The registry of what a client calls a server URL: a host, with or without `https://`."""
    return classify(server_url.removeprefix("https://").partition("/")[0])


def get(server_url: str) -> str:
    """A fresh token for an Amazon ECR host, matched whole.

    Raises `NotFoundError` for all others, and for ECR Public when AWS gives none: it serves everybody.
    Raises what `TokenProcess.fetch` raises.
    """
    registry = registry_of(server_url)
    if not is_ecr(registry.kind):
        raise NotFoundError
    from dockermgr import tes  # docker waits here at each pull, of whatever registry
    from dockermgr.ecr import PUBLIC
    from dockermgr.token_process import TokenProcess

    public = registry.kind is RegistryKind.ECR_PUBLIC
    if public and not tes.are_likely():
        raise NotFoundError
    try:
        token = TokenProcess().fetch(registry.region or PUBLIC, fips=bool(registry.fips))
    except DockermgrError as error:
        if not public:
            raise
        raise NotFoundError from error
    return json.dumps(
        {"ServerURL": server_url, "Username": token.username, "Secret": token.password}
    )


def store(request: str) -> None:
    """Forgets what `docker login` sent for an ECR host, since `get` fetches a token each time.

    Raises `NotKeptError` for others: who logs in there must not believe that it was kept.
    """
    try:
        server_url = str(json.loads(request)["ServerURL"])
    except (ValueError, KeyError, TypeError):
        # From None: the password is in the request.
        raise NotKeptError("the request is not JSON with a ServerURL") from None
    if not is_ecr(registry_of(server_url).kind):
        raise NotKeptError(
            f"{PROGRAM} keeps no passwords, and {server_url} is not Amazon ECR:"
            " set another helper for it under credHelpers in docker's config.json"
        )
