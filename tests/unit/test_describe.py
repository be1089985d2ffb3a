"""The object that `dockermgr parse` prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from dockermgr.describe import describe_uri
from dockermgr.reference import InvalidReference

SHA256 = "sha256:" + "a" * 64
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def warnings(uri: str) -> list[str]:
    found = describe_uri(uri)["warnings"]
    assert isinstance(found, list)
    return found


def test_private_ecr() -> None:
    uri = f"docker:123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/team/app:1@{SHA256}"
    described = describe_uri(uri)
    assert " ".join(described) == (
        "uri registry repository tag digest reference kind account region fips warnings"
    )
    assert json.loads(json.dumps(described)) == {
        "uri": uri,
        "registry": "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
        "repository": "team/app",
        "tag": "1",
        "digest": SHA256,
        "reference": uri.removeprefix("docker:"),
        "kind": "ecr-private",
        "account": "123456789012",
        "region": "us-gov-west-1",
        "fips": True,
        "warnings": ["The digest decides; the tag 1 is only a note. Leave it out to be clear."],
    }


def test_absent_values_are_null() -> None:
    described = describe_uri("DOCKER:nginx")
    assert described["uri"] == "DOCKER:nginx"
    assert described["reference"] == "docker.io/library/nginx:latest"
    assert [key for key, value in described.items() if value is None] == [
        "tag",
        "digest",
        "account",
        "region",
        "fips",
    ]


@pytest.mark.parametrize(
    ("uri", "kind", "fips"),
    [
        ("docker:nginx:1", "docker-hub", None),
        ("docker:index.docker.io/nginx:1", "docker-hub", None),
        ("docker:public.ecr.aws/nginx/nginx:1", "ecr-public", None),
        (f"docker:{ECR}/app:1", "ecr-private", False),
        (f"docker:{ECR}/app@{SHA256}", "ecr-private", False),
        ("docker:registry.example.com:5000/app:1", "other", None),
        ("docker:localhost/app:1", "other", None),
    ],
)
def test_nothing_to_warn_of(uri: str, kind: str, fips: bool | None) -> None:
    described = describe_uri(uri)
    assert (described["kind"], described["fips"]) == (kind, fips)
    assert described["warnings"] == []


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("docker:nginx", "No tag or digest: latest is assumed"),
        ("docker:nginx:latest", "The tag latest is pulled again at each deployment"),
        (f"docker:nginx:latest@{SHA256}", "The digest decides; the tag latest"),
        (f"docker:{ECR}:443/app:1", f"{ECR} is Amazon ECR, but with a port"),
        ("docker:public.ecr.aws:443/a/app:1", "public.ecr.aws is Amazon ECR, but with a port"),
        (f"docker:{ECR}.evil.example/app:1", "looks like Amazon ECR but is not"),
        (f"docker:evil.{ECR}:443/app:1", "looks like Amazon ECR but is not"),
        ("docker:MyOrg/app:1", "MyOrg is taken for a registry's host because of its upper case"),
        ("docker:ghrc.io/team/app:1", "ghrc.io looks like ghcr.io mistyped"),
        ("docker:registry.example.com:5000", "registry.example.com is taken for an image"),
    ],
)
def test_one_warning(uri: str, says: str) -> None:
    (warning,) = warnings(uri)
    assert says in warning
    assert warning.count(". ") == 1, "what is so, and then what to do"


def test_warnings_of_tag_and_registry_come_together() -> None:
    assert len(warnings(f"docker:{ECR}:443/app")) == 2


def test_invalid() -> None:
    with pytest.raises(InvalidReference, match="does not start with docker:"):
        describe_uri("nginx")


def test_describing_needs_no_library() -> None:
    """A recipe's install step calls the command; what it does not need, it must not wait for."""
    heavy = {"boto3", "botocore", "docker", "requests", "awsiot", "awscrt", "tenacity", "logging"}
    code = "import sys, dockermgr.describe; print(*sys.modules, sep='\\n')"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not heavy & set(run.stdout.split())
