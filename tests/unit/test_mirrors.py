"""What a mirror calls an image."""

from __future__ import annotations

import pytest

from dockermgr.config import ImageSpec
from dockermgr.mirrors import at_mirror
from dockermgr.reconcile import to_request
from dockermgr.registry import RegistryKind

DIGEST = f"sha256:{'a' * 64}"
ECR_HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("image", "mirror", "digest", "there"),
    [
        ("nginx:1", "m.example.com", None, "m.example.com/library/nginx:1"),
        ("nginx", "m.example.com:5000/hub", None, "m.example.com:5000/hub/library/nginx:latest"),
        ("nginx:1", "m.example.com", DIGEST, f"m.example.com/library/nginx@{DIGEST}"),
        ("quay.io/a/b:1", f"{ECR_HOST}/quay", None, f"{ECR_HOST}/quay/a/b:1"),
    ],
)
def test_the_repository_moves_and_the_digest_decides(
    image: str, mirror: str, digest: str | None, there: str
) -> None:
    request = to_request(ImageSpec(f"docker:{image}"), None)

    assert str(at_mirror(request, mirror, digest).reference) == there


def test_credentials_are_those_of_the_mirror() -> None:
    request = to_request(ImageSpec("docker:nginx:1"), None)

    assert at_mirror(request, f"{ECR_HOST}/hub", None).registry.kind is RegistryKind.ECR_PRIVATE
