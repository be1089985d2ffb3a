"""Finding an image in the engine's listing, by every way of writing its name."""

from __future__ import annotations

import pytest

from dockermgr.images import LocalImage, LocalImages
from dockermgr.reference import parse_reference

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def image(
    *tags: str, digests: tuple[str, ...] = (), platform: str | None = None, size: int = 1
) -> LocalImage:
    return LocalImage("sha256:id", size, tags, digests, platform)


@pytest.mark.parametrize("listed", ["nginx:1", "docker.io/library/nginx:1"])
@pytest.mark.parametrize(
    "asked", ["nginx:1", "docker.io/nginx:1", "index.docker.io/library/nginx:1"]
)
def test_both_engines_names_of_docker_hub_are_known(listed: str, asked: str) -> None:
    found = image(listed)
    assert LocalImages([found]).find(parse_reference(asked)) is found


def test_no_tag_is_latest() -> None:
    found = image("nginx:latest")
    images = LocalImages([found, image("nginx:1")])
    assert images.find(parse_reference("nginx")) is found


@pytest.mark.parametrize(
    "asked", ["nginx:2", "other:1", "host.example/nginx:1", "library/nginx/nginx:1", f"nginx@{A}"]
)
def test_another_image_is_not_taken_for_it(asked: str) -> None:
    assert LocalImages([image("nginx:1")]).find(parse_reference(asked)) is None


def test_the_digest_decides() -> None:
    old = image("nginx:1", digests=(f"nginx@{A}",))
    new = image("nginx:2", digests=(f"nginx@{B}",))
    images = LocalImages([old, new])
    assert images.find(parse_reference(f"nginx:1@{B}")) is new
    assert images.find(parse_reference(f"nginx@{A}")) is old
    assert images.find(parse_reference(f"other@{A}")) is None


def test_untagged_images_are_found_by_their_digest_only() -> None:
    found = LocalImage("sha256:id", 1, ("<none>:<none>",), (f"{ECR}/app@{A}",))
    images = LocalImages([found])
    assert images.find(parse_reference(f"{ECR}/app@{A}")) is found
    assert images.find(parse_reference(f"{ECR}/app:1")) is None


def test_an_empty_engine_has_nothing() -> None:
    assert LocalImages([]).find(parse_reference("nginx")) is None


def test_the_digest_is_that_of_the_references_own_repository() -> None:
    shared = image("a:1", digests=(f"docker.io/library/a@{A}", f"host.example/a@{B}"))
    assert shared.digest_of(parse_reference("a:1")) == A
    assert shared.digest_of(parse_reference("host.example/a:1")) == B
    assert shared.digest_of(parse_reference("b:1")) is None


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ("linux/arm64", None),
        (None, "linux/arm64"),
        ("linux/arm64", "linux/arm64"),
        ("linux/arm64", "LINUX/ARM64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm/v7", "linux/arm"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/amd64", "linux"),
    ],
)
def test_platforms_that_fit(have: str | None, want: str | None) -> None:
    assert image(platform=have).fits(want)


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ("linux/amd64", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v6"),
        ("linux/arm64", "linux/arm"),
        ("windows/amd64", "linux/amd64"),
        ("windows/amd64", "linux"),
    ],
)
def test_platforms_that_do_not_fit(have: str, want: str) -> None:
    assert not image(platform=have).fits(want)


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ("linux/arm64", "arm64"),
        ("linux/arm64", "linux/aarch64"),
        ("linux/amd64", "linux/x86_64"),
        ("linux/amd64", "amd64"),
        ("linux/arm/v7", "linux/armhf"),
        ("linux/arm64/v8", "linux/arm64/8"),
        ("", "linux/amd64"),
    ],
)
def test_platforms_fit_by_every_name_that_the_engine_takes(have: str, want: str) -> None:
    assert image(platform=have).fits(want)
