"""What of Greengrass reaches into a container: features to mounts, variables and a network. Pure."""

from __future__ import annotations

import csv
import io
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

FORWARD_NETWORK = "dockermgr-tes"
FORWARD_ADDRESS = "169.254.170.2"
"""AWS SDKs take credentials over plain HTTP from loopback addresses and from this one, which Amazon
ECS uses (AWS SDKs and Tools Reference Guide, "Container credential provider"). A container's own
loopback is not ours to listen on, so the host gets this address, in a network made for it."""
FORWARD_SUBNET = "169.254.170.0/24"
DEFAULT_STREAM_MANAGER_PORT = 8088
"""AWS IoT Greengrass developer guide, "Stream manager"."""

HOST_NETWORK_WARNING = (
    "the container is on the host's network, so it is less isolated: it reaches, and can listen on,"
    " every port of this device"
)
"""As the developer guide's "Run a Docker container" warns."""

TES_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105  # the variable's name
IPC_SOCKET = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
STREAM_MANAGER_PORT = "STREAM_MANAGER_SERVER_PORT"
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


class Feature(str, Enum):
    """What `--pass` can name."""

    IPC = "ipc"
    TES = "tes"
    TES_FORWARD = "tes=forward"
    STREAM_MANAGER = "stream-manager"
    WORK = "work"


_NEEDS = {
    Feature.IPC: (IPC_SOCKET, "SVCUID"),
    Feature.TES: (TES_URI, TOKEN),
    Feature.TES_FORWARD: (TES_URI, TOKEN),
    Feature.STREAM_MANAGER: (TOKEN,),
    Feature.WORK: (),
}
_MEND = {
    IPC_SOCKET: "run it from a component's lifecycle script",
    "SVCUID": "run it from a component's lifecycle script",
    TOKEN: "run it from a component's lifecycle script",
    TES_URI: "list aws.greengrass.TokenExchangeService under ComponentDependencies",
}


EVERY_SERVICE = ""


class CannotPass(ValueError):  # noqa: N818 - what it is says more than Error
    """A feature that cannot reach the container; the message says why, and the mend."""


@dataclass(frozen=True, slots=True)
class Passthrough:
    """What a container gets. The values of `variables` are secrets: for environments, not for argv."""

    variables: Mapping[str, str]
    mounts: tuple[str, ...] = ()
    """Paths, at the same place in the container."""
    network: str | None = None
    """`host`, `FORWARD_NETWORK`, or None: whatever else is chosen."""
    warnings: tuple[str, ...] = ()


def parse_features(text: str) -> list[Feature]:
    """`ipc,tes` as features. Raises CannotPass."""
    known = ", ".join(feature.value for feature in Feature)
    try:
        return [Feature(word.strip().lower()) for word in text.split(",")]
    except ValueError as error:
        raise CannotPass(f"{text!r}: write one or more of {known}, with commas") from error


def parse_service_features(text: str) -> tuple[str, list[Feature]]:
    """`web=ipc,tes` as service and features; without a service, EVERY_SERVICE. Raises CannotPass."""
    try:
        return EVERY_SERVICE, parse_features(text)
    except CannotPass:
        service, features = text.split("=", 1) if "=" in text else (EVERY_SERVICE, text)
    return service, parse_features(features)


def pass_through(
    features: Iterable[Feature],
    environment: Mapping[str, str],
    work: str,
    *,
    stream_manager_port: int = DEFAULT_STREAM_MANAGER_PORT,
) -> Passthrough:
    """What `features` give to a container of the component whose environment and work folder these are.

    Raises CannotPass.
    """
    wanted = set(features)
    for feature in sorted(wanted):
        for name in _NEEDS[feature]:
            if not environment.get(name):
                raise CannotPass(f"--pass {feature.value}: {name} is not set; {_MEND[name]}")
    on_host = wanted & {Feature.TES, Feature.STREAM_MANAGER}
    if on_host and Feature.TES_FORWARD in wanted:
        other = " and ".join(sorted(feature.value for feature in on_host))
        raise CannotPass(f"tes=forward is for containers without the host's network; drop {other}")
    names = [name for feature in sorted(wanted) for name in _NEEDS[feature]]
    if wanted & {Feature.TES, Feature.TES_FORWARD}:
        names += [name for name in _REGIONS if environment.get(name)]
    variables = {name: environment[name] for name in names}
    if Feature.STREAM_MANAGER in wanted:
        variables[STREAM_MANAGER_PORT] = str(stream_manager_port)
    mounts = [environment[IPC_SOCKET]] if Feature.IPC in wanted else []
    mounts += [work] if Feature.WORK in wanted else []
    network = FORWARD_NETWORK if Feature.TES_FORWARD in wanted else None
    warnings: tuple[str, ...] = ()
    if on_host:
        network = "host"
        warnings = (HOST_NETWORK_WARNING,)
    return Passthrough(variables, tuple(mounts), network, warnings)


def forwarded(uri: str, port: int) -> str:
    """The token exchange service's URI for a container that reaches it through a forwarder."""
    return urllib.parse.urlsplit(uri)._replace(netloc=f"{FORWARD_ADDRESS}:{port}").geturl()


def docker_flags(given: Passthrough) -> list[str]:
    """Flags of `docker run`, which takes the variables' values from its own environment."""
    flags = [word for name in given.variables for word in ("--env", name)]
    for path in given.mounts:
        # Not -v: where the path is missing, that makes a folder of it.
        row = io.StringIO()
        csv.writer(row).writerow(["type=bind", f"source={path}", f"target={path}"])
        flags += ["--mount", row.getvalue().rstrip("\r\n")]
    if given.network is not None:
        flags += ["--network", given.network]
    return flags
