"""What an engine's words mean, given what is known of the registry. Pure."""

from __future__ import annotations

import re

from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.registry import Registry, RegistryKind, known_host_like

_LOOKED_UP = re.compile(r"lookup ([^\s:]+)")


def in_context(
    error: DockermgrError, registry: Registry, *, reached: bool, insecure: bool
) -> DockermgrError:
    """The same failure, with the life and the hint that fit.

    `reached`: something came from that registry before; `insecure`: it is configured to be.
    """
    host = registry.host
    if error.code is ErrorCode.DOCKER_LOGIN_ERROR:
        # Engine 20.10 turns each trouble of a registry's first answer (503, 429) into "unauthorized": from
        # a registry that served us before, that is worth some attempts. A private ECR's token was fetched
        # anew and checked by then: there it means what it says.
        its_word = registry.kind is RegistryKind.ECR_PRIVATE
        return error.but(retry=Retry.LIMITED) if reached and not its_word else error
    if error.code is ErrorCode.NETWORK_ERROR and insecure:
        return error.but(
            hint=f"{error.hint}; without proper TLS {host} must stand under insecure-registries in"
            " the engine's daemon.json, too"
        )
    if error.unresolved_name and not reached and _is_of(host, error.message):
        # A name that never resolved is almost always a typing error; one that did is the network.
        hint = f"nothing ever came from {host}: most likely its name is mistyped"
        if (meant := known_host_like(host)) is not None:
            hint += f"; did you mean {meant}?"
        return error.but(hint=f"{hint} (else check this device's DNS)")
    return error


def _is_of(host: str, message: str) -> bool:
    """Whether the name that was looked up is the registry's: layers may lie elsewhere."""
    found = _LOOKED_UP.search(message)
    name = found[1].lower() if found else ""
    return not name or name == host.partition(":")[0] or name.endswith(f".{host}")
