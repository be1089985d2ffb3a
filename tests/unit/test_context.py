"""The same words of an engine mean other things for other registries."""

from __future__ import annotations

import pytest

from dockermgr.context import in_context
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.registry import classify

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def unresolved(name: str) -> DockermgrError:
    return DockermgrError(
        ErrorCode.NETWORK_ERROR,
        f"dial tcp: lookup {name}: no such host",
        hint="DNS",
        retry=Retry.UNTIL_MENDED,
        unresolved_name=True,
    )


@pytest.mark.parametrize(
    ("host", "looked_up", "reached", "mistyped"),
    [
        ("pubilc.ecr.aws", "pubilc.ecr.aws", False, True),
        ("registry.example.com:5000", "registry.example.com", False, True),
        ("docker.io", "registry-1.docker.io", False, True),
        ("pubilc.ecr.aws", "pubilc.ecr.aws", True, False),
        (ECR, "prod-layers.s3.us-east-1.amazonaws.com", False, False),
    ],
)
def test_only_the_registrys_own_name_can_be_mistyped(
    host: str, looked_up: str, reached: bool, mistyped: bool
) -> None:
    error = in_context(unresolved(looked_up), classify(host), reached=reached, insecure=False)

    assert ("most likely its name is mistyped" in error.hint) is mistyped
    assert error.retry is Retry.UNTIL_MENDED


def test_a_well_known_name_that_is_near_is_named() -> None:
    error = in_context(
        unresolved("pubilc.ecr.aws"), classify("pubilc.ecr.aws"), reached=False, insecure=False
    )

    assert "did you mean public.ecr.aws?" in error.hint


@pytest.mark.parametrize(
    ("host", "reached", "retry"),
    [
        ("registry.example.com", True, Retry.LIMITED),
        ("registry.example.com", False, Retry.NEVER),
        (ECR, True, Retry.NEVER),
    ],
)
def test_unauthorized_by_a_registry_that_served_us_before_may_pass(
    host: str, reached: bool, retry: Retry
) -> None:
    refused = DockermgrError(ErrorCode.DOCKER_LOGIN_ERROR, "unauthorized")

    assert in_context(refused, classify(host), reached=reached, insecure=False).retry is retry


def test_an_insecure_registry_is_the_engines_affair_too() -> None:
    error = DockermgrError(ErrorCode.NETWORK_ERROR, "x509: …", hint="TLS fails")

    hint = in_context(error, classify("r.example.com"), reached=True, insecure=True).hint
    assert hint.startswith("TLS fails; ")
    assert "r.example.com must stand under insecure-registries" in hint
