"""Registry hosts: which are Amazon ECR, and so may be sent an ECR token.

A host is ECR only if all of it is; a part that looks right (`….amazonaws.com.evil.example`) is
how tokens get lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

_PRIVATE_HOST = re.compile(
    r"(?P<account>[0-9]{12})\.(?P<service>dkr[.-]ecr)(?P<fips>-fips)?"
    r"\.(?P<region>[a-z]{2,}(?:-[a-z]+)+-[0-9]{1,2})\.(?P<suffix>[a-z0-9.-]+)"
)
# How the Regions begin that a suffix serves: AWS's partitions, from botocore's partitions.json.
# "" is aws and aws-us-gov: any Region that no other partition claims, so that new ones just work.
# Dual-stack hosts are written dkr-ecr; amazon-ecr-credential-helper has dkr.ecr, too, for China.
_REGION_PREFIXES = {
    ("dkr.ecr", "amazonaws.com"): "",
    ("dkr.ecr", "amazonaws.com.cn"): "cn-",
    ("dkr.ecr", "amazonaws.eu"): "eusc-",
    ("dkr.ecr", "c2s.ic.gov"): "us-iso-",
    ("dkr.ecr", "sc2s.sgov.gov"): "us-isob-",
    ("dkr.ecr", "cloud.adc-e.uk"): "eu-isoe-",
    ("dkr.ecr", "csp.hci.ic.gov"): "us-isof-",
    ("dkr-ecr", "on.aws"): "",
    ("dkr-ecr", "on.amazonwebservices.com.cn"): "cn-",
    ("dkr.ecr", "on.amazonwebservices.com.cn"): "cn-",
}
_CLAIMED_PREFIXES = tuple(filter(None, _REGION_PREFIXES.values()))

_PUBLIC_HOSTS = frozenset({"public.ecr.aws", "ecr-public.aws.com"})
_DOCKER_HUB_HOST = "docker.io"

_ECR_PIECES = (
    *("dkr.ecr", "dkr-ecr", ".dkr.", "amazonaws", "amazonwebservices", ".on.aws"),
    *("ecr.aws", "public.ecr", "ecr-public"),
)


class RegistryKind(str, Enum):
    """Which credentials a registry takes."""

    ECR_PRIVATE = "ecr-private"
    ECR_PUBLIC = "ecr-public"
    DOCKER_HUB = "docker-hub"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry by its host, in lower case; the rest is known of a private ECR only."""

    host: str
    kind: RegistryKind
    account: str | None = None
    region: str | None = None
    fips: bool | None = None
    insecure: bool = False
    """Configured to be asked without TLS, or without looking at its certificate."""


def classify(host: str) -> Registry:
    """What a registry is, from its host as in `Reference.registry`; with a port, always OTHER."""
    if not host.isascii():  # some letters turn into ASCII ones in lower case
        return Registry(host, RegistryKind.OTHER)
    host = host.lower()
    if host in _PUBLIC_HOSTS:
        return Registry(host, RegistryKind.ECR_PUBLIC)
    if host == _DOCKER_HUB_HOST:
        return Registry(host, RegistryKind.DOCKER_HUB)
    private = _PRIVATE_HOST.fullmatch(host)
    if private and _serves(private["service"], private["suffix"], private["region"]):
        return Registry(
            host,
            RegistryKind.ECR_PRIVATE,
            account=private["account"],
            region=private["region"],
            fips=private["fips"] is not None,
        )
    return Registry(host, RegistryKind.OTHER)


def is_ecr(kind: RegistryKind) -> bool:
    """Whether a registry of this kind is Amazon's, private or public."""
    return kind in (RegistryKind.ECR_PRIVATE, RegistryKind.ECR_PUBLIC)


def resembles_ecr(host: str) -> bool:
    """Whether a host that is not ECR could be taken for it: worth a warning, never a token."""
    folded = host.casefold()
    return not is_ecr(classify(host).kind) and any(piece in folded for piece in _ECR_PIECES)


def _serves(service: str, suffix: str, region: str) -> bool:
    prefix = _REGION_PREFIXES.get((service, suffix))
    if prefix is None:
        return False
    return region.startswith(prefix) if prefix else not region.startswith(_CLAIMED_PREFIXES)


_KNOWN_HOSTS = (
    "docker.io", "public.ecr.aws", "ghcr.io", "quay.io", "gcr.io", "registry.gitlab.com",
    "registry.k8s.io", "mcr.microsoft.com", "nvcr.io",
)  # fmt: skip
_NEIGHBOURS = frozenset({"icr.io", "lscr.io"})
"""Well-known as well, and near enough to one of those to be taken for it: IBM's, LinuxServer's."""
_LIKE_ENOUGH = 0.8


def known_host_like(host: str) -> str | None:
    """A well-known registry that `host` may have been meant to be; None when there is none near.

    One with more or fewer labels is somebody's own: us.gcr.io, docker.n8n.io, registry.gitlab.example.com.
    """
    host = host.lower()
    near = [known for known in _KNOWN_HOSTS if known.count(".") == host.count(".")]
    if host in (*_KNOWN_HOSTS, *_NEIGHBOURS) or not near:
        return None
    from difflib import get_close_matches  # not for the usual hosts

    return next(iter(get_close_matches(host, near, n=1, cutoff=_LIKE_ENOUGH)), None)
