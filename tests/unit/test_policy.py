"""Whether an image is pulled at all: policies, and what the operator allows."""

from __future__ import annotations

import pytest

from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.policy import PullPolicy, check_allowed, effective_policy
from dockermgr.reference import parse_reference

SHA256 = "sha256:" + "a" * 64
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", PullPolicy.ALWAYS),
        ("nginx:latest", PullPolicy.ALWAYS),
        ("nginx:1.27", PullPolicy.IF_NOT_PRESENT),
        (f"nginx@{SHA256}", PullPolicy.IF_NOT_PRESENT),
        (f"nginx:latest@{SHA256}", PullPolicy.IF_NOT_PRESENT),
    ],
)
def test_what_moves_by_convention_is_asked_for_again(image: str, policy: PullPolicy) -> None:
    assert effective_policy(parse_reference(image)) is policy
    assert effective_policy(parse_reference(image), None, None) is policy


def test_the_first_choice_that_was_made_counts() -> None:
    nginx = parse_reference("nginx")
    assert effective_policy(nginx, PullPolicy.NEVER, PullPolicy.ALWAYS) is PullPolicy.NEVER
    assert effective_policy(nginx, None, PullPolicy.IF_NOT_PRESENT) is PullPolicy.IF_NOT_PRESENT


def allowed(image: str, *entries: str, require_digest: bool = False) -> bool:
    try:
        check_allowed(parse_reference(image), entries, require_digest=require_digest)
    except DockermgrError:
        return False
    return True


def test_what_is_not_allowed_says_how_to_allow_it() -> None:
    with pytest.raises(DockermgrError, match=r"docker\.io/library/nginx") as caught:
        check_allowed(parse_reference("nginx"), ["quay.io"], require_digest=False)
    assert caught.value.code is ErrorCode.REGISTRY_NOT_ALLOWED
    assert not caught.value.retryable
    assert "allowedRegistries" in caught.value.hint


def test_an_empty_list_allows_everything() -> None:
    assert allowed("anything.example/at/all:1")


@pytest.mark.parametrize(
    ("image", "entry"),
    [
        ("nginx", "docker.io"),
        ("nginx", "docker.io/library"),
        ("nginx", "docker.io/library/nginx"),
        ("nginx", "docker.io/library/"),
        (f"{ECR}/team/app:1", ECR),
        (f"{ECR}/team/app:1", f"{ECR}/team"),
        (f"{ECR}/team/app:1", "*.dkr.ecr.us-east-1.amazonaws.com"),
        (f"{ECR}/team/app:1", "123456789012.dkr.ecr.*.amazonaws.com"),
        (f"{ECR}/team/app:1", f"{ECR}/*/app"),
        ("host.example:5000/app", "host.example:5000"),
        ("host.example/app-1", "host.example/app-*"),
    ],
)
def test_an_entry_covers_what_lies_under_it(image: str, entry: str) -> None:
    assert allowed(image, entry)
    assert allowed(image, "other.example", entry)


@pytest.mark.parametrize(
    ("image", "entry"),
    [
        ("nginx", "quay.io"),
        ("nginx", "docker.io/library/ngin"),
        ("nginx", "ocker.io"),
        ("docker.io.evil.example/nginx", "docker.io"),
        ("evil.example/docker.io/nginx", "docker.io"),
        (f"{ECR}.evil.example/app", ECR),
        (f"evil.{ECR}:443/app", "*.dkr.ecr.us-east-1.amazonaws.com"),
        ("a.b.example/app", "*.example"),
        ("dockerXio/nginx", "docker.io"),
        ("host.example/team/deep/app", "host.example/*/app"),
        ("host.example/app", ""),
        ("host.example/app", "/"),
    ],
)
def test_an_entry_covers_no_more_than_that(image: str, entry: str) -> None:
    assert not allowed(image, entry)


def test_a_digest_may_be_required() -> None:
    assert allowed(f"nginx@{SHA256}", require_digest=True)
    assert allowed(f"nginx:1@{SHA256}", "docker.io", require_digest=True)
    assert not allowed("nginx:1", require_digest=True)
