"""What `dockermgr parse` says of a URI: its parts, its registry, and what to look out for."""

from __future__ import annotations

from dockermgr.reference import DEFAULT_TAG, Reference, parse_uri
from dockermgr.registry import (
    Registry,
    RegistryKind,
    classify,
    is_ecr,
    known_host_like,
    resembles_ecr,
)


def describe_uri(uri: str) -> dict[str, object]:
    """The JSON object of `dockermgr parse`, keys in its order. Raises InvalidReference."""
    reference = parse_uri(uri)
    registry = classify(reference.registry)
    return {
        "uri": uri,
        "registry": reference.registry,
        "repository": reference.repository,
        "tag": reference.tag,
        "digest": reference.digest,
        "reference": str(reference),
        "kind": registry.kind.value,
        "account": registry.account,
        "region": registry.region,
        "fips": registry.fips,
        "warnings": [*_selector_warnings(reference), *registry_warnings(reference, registry)],
    }


def _selector_warnings(reference: Reference) -> list[str]:
    tag, digest = reference.tag, reference.digest
    if tag and digest:
        return [f"The digest decides; the tag {tag} is only a note. Leave it out to be clear."]
    if digest or tag not in (None, DEFAULT_TAG):
        return []
    cause = "No tag or digest: latest is assumed, and" if tag is None else "The tag latest is"
    mend = "Name a version or a digest to stay on one image."
    return [f"{cause} pulled again at each deployment. {mend}"]


def registry_warnings(reference: Reference, registry: Registry) -> list[str]:
    """At most one: the first that fits is the one to mend first."""
    host, name = registry.host, reference.familiar_name
    portless, colon, _ = host.rpartition(":")
    if colon and is_ecr(classify(portless).kind):
        warning = f"{portless} is Amazon ECR, but with a port it is sent no token. Remove the port."
    elif resembles_ecr(host):
        warning = (
            f"{host} looks like Amazon ECR but is not, and is sent no token. "
            "Check the account (12 digits), the Region and the end of the host."
        )
    elif host != "localhost" and not {".", ":"} & set(host):
        warning = (
            f"{reference.registry} is taken for a registry's host because of its upper case. "
            "Write an organization of Docker Hub in lower case."
        )
    elif registry.kind is RegistryKind.DOCKER_HUB and "." in name and "/" not in name:
        warning = (
            f"{name} is taken for an image of Docker Hub. "
            "If it is a registry's host, write a slash and the repository after it."
        )
    elif (meant := known_host_like(host)) is not None:
        warning = f"{host} looks like {meant} mistyped. Write {meant} if that is meant."
    else:
        return []
    return [warning]
