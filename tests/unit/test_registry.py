"""Which hosts are Amazon ECR: an ECR token goes to these and to no other."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dockermgr.registry import (
    Registry,
    RegistryKind,
    classify,
    is_ecr,
    known_host_like,
    resembles_ecr,
)

ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("host", "region", "fips"),
    [
        ("{}.dkr.ecr.us-east-1.amazonaws.com", "us-east-1", False),
        ("{}.dkr.ecr-fips.us-east-1.amazonaws.com", "us-east-1", True),
        ("{}.dkr.ecr.ap-southeast-7.amazonaws.com", "ap-southeast-7", False),
        ("{}.dkr.ecr.mx-central-1.amazonaws.com", "mx-central-1", False),
        ("{}.dkr.ecr.us-gov-west-1.amazonaws.com", "us-gov-west-1", False),
        ("{}.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1", True),
        ("{}.dkr.ecr.xx-newplace-12.amazonaws.com", "xx-newplace-12", False),
        ("{}.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", False),
        ("{}.dkr.ecr.cn-northwest-1.amazonaws.com.cn", "cn-northwest-1", False),
        ("{}.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", False),
        ("{}.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1", False),
        ("{}.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1", False),
        ("{}.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "eu-isoe-west-1", False),
        ("{}.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "us-isof-south-1", False),
        ("{}.dkr-ecr.us-west-2.on.aws", "us-west-2", False),
        ("{}.dkr-ecr-fips.us-west-2.on.aws", "us-west-2", True),
        ("{}.dkr-ecr-fips.us-gov-east-1.on.aws", "us-gov-east-1", True),
        ("{}.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1", False),
        ("{}.dkr.ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1", False),
    ],
)
def test_private_ecr(host: str, region: str, fips: bool) -> None:
    host = host.format(ACCOUNT)
    expected = Registry(host, RegistryKind.ECR_PRIVATE, ACCOUNT, region, fips)
    assert classify(host) == expected
    assert classify(host.upper()) == expected
    assert not resembles_ecr(host)


@pytest.mark.parametrize("host", ["public.ecr.aws", "ecr-public.aws.com", "Public.ECR.aws"])
def test_public_ecr(host: str) -> None:
    assert classify(host) == Registry(host.lower(), RegistryKind.ECR_PUBLIC)
    assert not resembles_ecr(host)


def test_docker_hub() -> None:
    assert classify("docker.io") == Registry("docker.io", RegistryKind.DOCKER_HUB)
    assert not resembles_ecr("docker.io")


@pytest.mark.parametrize(
    "host",
    [
        "registry.example.com",
        "registry.example.com:5000",
        "localhost:5000",
        "[::1]:5000",
        "docker.io:443",
        "docker.io.example.com",
        "ecr.example.com",
        "",
    ],
)
def test_other(host: str) -> None:
    assert classify(host) == Registry(host, RegistryKind.OTHER)
    assert not resembles_ecr(host)


@pytest.mark.parametrize(
    "host",
    [
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.cn.evil.example",
        "123456789012.dkr.ecr.us-east-1.amazonaws.evil.example",
        "evil-123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "x.123456789012.dkr.ecr.us-east-1.amazonaws.com",
        ".123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "12345678901.dkr.ecr.us-east-1.amazonaws.com",
        "1234567890123.dkr.ecr.us-east-1.amazonaws.com",
        "12345678901a.dkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com:443",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com\n",
        " 123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/app",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com@evil.example",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com#.evil.example",
        "123456789012.dkr.ecr.us-east-1.evil.example",
        "123456789012.dkr.ecr.us-east-1xamazonaws.com",
        "123456789012.dkr.ecr.us-east-1.xamazonaws.com",
        "123456789012.dkr.ecr.us-east-1.amazonaws.comx",
        "123456789012.dkr.ecr.us-east-1.amazonaws.org",
        "123456789012xdkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.amazonawsxcom",
        "123456789012.dkr.ecr.amazonaws.com",
        "123456789012.dkr.ecr..amazonaws.com",
        "123456789012.dkr.ecr.us-east.amazonaws.com",
        "123456789012.dkr.ecr.us.east.1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.x.amazonaws.com",
        "123456789012.dkr.ecr-slow.us-east-1.amazonaws.com",
        "123456789012.dkr.ecrfips.us-east-1.amazonaws.com",
        "123456789012.dkr.us-east-1.amazonaws.com",
        "123456789012.dkr.us-east-1.example.com",
        "123456789012.ecr.us-east-1.amazonaws.com",
        "api.ecr.us-east-1.amazonaws.com",
        "vpce-1.dkr.ecr.us-east-1.vpce.amazonaws.com",
        # A Region belongs to one partition, a partition to its hosts.
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.cn",
        "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.eu",
        "123456789012.dkr.ecr.us-iso-east-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.c2s.ic.gov",
        "123456789012.dkr.ecr.us-isob-east-1.c2s.ic.gov",
        "123456789012.dkr.ecr.us-iso-east-1.sc2s.sgov.gov",
        "123456789012.dkr-ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.on.aws",
        "123456789012.dkr-ecr.cn-north-1.on.aws",
        "public.ecr.aws.evil.example",
        "public.ecr.aws:443",
        "evil-public.ecr.aws",
        "public-ecr.aws.example.com",
        "ecr-public.us-east-1.aws.com",
        "x.public.ecr.aws",
        # Letters that are ASCII only in lower or upper case, digits of other scripts, a look-alike.
        "123456789012.d\u212ar.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.us-ea\u017ft-1.amazonaws.com",
        "\u0661\u0662\u0663456789012.dkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.amazon\u0430ws.com",
    ],
)
def test_look_alike(host: str) -> None:
    assert classify(host).kind is RegistryKind.OTHER
    assert classify(host).account is None
    assert resembles_ecr(host)


def test_kind_is_its_text() -> None:
    assert [kind.value for kind in RegistryKind] == [
        "ecr-private",
        "ecr-public",
        "docker-hub",
        "other",
    ]
    assert [kind for kind in RegistryKind if is_ecr(kind)] == ["ecr-private", "ecr-public"]


COMMERCIAL = {"amazonaws.com", "on.aws"}
SUFFIXES = {
    "amazonaws.com": "dkr.ecr",
    "amazonaws.com.cn": "dkr.ecr",
    "amazonaws.eu": "dkr.ecr",
    "c2s.ic.gov": "dkr.ecr",
    "sc2s.sgov.gov": "dkr.ecr",
    "cloud.adc-e.uk": "dkr.ecr",
    "csp.hci.ic.gov": "dkr.ecr",
    "on.aws": "dkr-ecr",
    "on.amazonwebservices.com.cn": "dkr-ecr",
}
REGIONS = ["us-east-1", "us-gov-east-1", "cn-north-1", "eusc-de-east-1", "us-iso-east-1"]
REGIONS += ["us-isob-east-1", "eu-isoe-west-1", "us-isof-east-1", "il-central-1"]


def oracle(host: str) -> bool:
    """Label by label, where the product has a pattern. Generous in Regions, strict in all else."""
    if not all(" " < char < "\x7f" for char in host):
        return False
    labels = host.lower().split(".")
    account, *rest = labels
    if len(account) != 12 or any(digit not in "0123456789" for digit in account):
        return False
    if rest[:1] == ["dkr"]:
        service, rest = "dkr." + ".".join(rest[1:2]), rest[2:]
    else:
        service, rest = ".".join(rest[:1]), rest[1:]
    region, suffix = ".".join(rest[:1]), ".".join(rest[1:])
    if suffix not in SUFFIXES or not re.fullmatch(r"[a-z]+(-[a-z]+)+-\d\d?", region, re.ASCII):
        return False
    services = [SUFFIXES[suffix]]
    if suffix == "on.amazonwebservices.com.cn":
        services.append("dkr.ecr")
    return service.removesuffix("-fips") in services


hosts = st.builds(
    "{}.{}{}.{}.{}".format,
    st.text("0123456789", min_size=11, max_size=13),
    st.sampled_from(["dkr.ecr", "dkr-ecr", "ecr"]),
    st.sampled_from(["", "-fips"]),
    st.sampled_from(REGIONS),
    st.sampled_from(sorted(SUFFIXES)),
)
pieces = st.text("abz019.-:@/ \n\u212a\u017f", max_size=3) | st.sampled_from(
    [".evil.example", "x."]
)


@settings(max_examples=1000, deadline=None)
@given(hosts, st.integers(0, 70), st.integers(0, 2), pieces)
@example(f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com", 70, 0, "\n")
def test_a_mutated_host_is_ecr_only_if_all_of_it_is(
    host: str, position: int, removed: int, inserted: str
) -> None:
    host = host[:position] + inserted + host[position + removed :]
    registry = classify(host)
    if registry.kind is RegistryKind.ECR_PRIVATE:
        assert oracle(host)
        assert registry.account == host[:12]
        assert f".{registry.region}." in host
        assert registry.fips is ("-fips." in host)
    else:
        assert registry == Registry(registry.host, RegistryKind.OTHER)


@settings(deadline=None)
@given(st.text("0123456789", min_size=12, max_size=12), st.sampled_from(REGIONS))
def test_each_region_is_served_by_its_partition_alone(account: str, region: str) -> None:
    kinds = {
        suffix: classify(f"{account}.{service}.{region}.{suffix}").kind
        for suffix, service in SUFFIXES.items()
    }
    serving = {suffix for suffix, kind in kinds.items() if kind is RegistryKind.ECR_PRIVATE}
    assert serving
    assert serving == COMMERCIAL or not serving & COMMERCIAL


@settings(deadline=None)
@given(st.text())
def test_any_text_is_classified(host: str) -> None:
    registry = classify(host)
    assert (registry.account is None) is (registry.kind is not RegistryKind.ECR_PRIVATE)
    assert resembles_ecr(host) in (True, False)


@pytest.mark.parametrize(
    "unit", ["a", "a-", "a-a-1.", "1", "1-", ".", "-", ".dkr", "amazonaw", "K"]
)
def test_long_hosts_are_answered_at_once(unit: str) -> None:
    started = time.process_time()
    for start in ("", "1", f"{ACCOUNT}.dkr.ecr.", f"{ACCOUNT}.dkr.ecr.us-east-1."):
        host = start + unit * (100_000 // len(unit))
        assert classify(host).kind is RegistryKind.OTHER
        assert resembles_ecr(host) in (True, False)
    # Milliseconds here; a pattern that backtracks would take hours, not a second.
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("dokcer.io", "docker.io"),
        ("docker.com", "docker.io"),
        ("Dokcer.IO", "docker.io"),
        ("ghrc.io", "ghcr.io"),
        ("qauy.io", "quay.io"),
        ("grc.io", "gcr.io"),
        ("registry.gitlab.co", "registry.gitlab.com"),
        ("public.ecr.awz", "public.ecr.aws"),
        ("mcr.microsoft.co", "mcr.microsoft.com"),
    ],
)
def test_a_mistyped_host_is_recognized(host: str, meant: str) -> None:
    assert known_host_like(host) == meant


@pytest.mark.parametrize(
    "host",
    [
        "",
        "docker.io",
        "DOCKER.io",
        "gcr.io",
        "ghcr.io",
        "localhost:5000",
        "registry.example.com",
        "us.gcr.io",
        "icr.io",
        "docker.n8n.io",
        "registry.gitlab.example.com",
        f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com",
    ],
)
def test_a_well_known_host_and_one_of_somebodys_own_are_not_mistyped(host: str) -> None:
    assert known_host_like(host) is None
