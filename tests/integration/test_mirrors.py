"""Mirrors, and registries without proper TLS, on real engines and registries."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.harness import Harness
from tests.sandbox.certificates import CertificateAuthority
from tests.sandbox.device import ECR_HOST, ECR_PUBLIC_HOST, OTHER_HOST
from tests.sandbox.faults.rules import BLOBS, Fault
from tests.sandbox.images import PushedImage, push_image, random_layer
from tests.sandbox.ipc import StateReport
from tests.sandbox.registry import Registry

pytestmark = pytest.mark.timeout(150)

MIRROR_HOST = "mirror.example.com"
IMAGE = f"docker:{ECR_PUBLIC_HOST}/app/one:1"
QUICK: dict[str, Any] = {"retry": {"initialSeconds": 0.5, "maxSeconds": 1, "maxAttempts": 3}}


def mirrored(*mirrors: str) -> dict[str, Any]:
    return {
        "images": [IMAGE],
        "registries": {ECR_PUBLIC_HOST: {"mirrors": list(mirrors)}},
        **QUICK,
    }


@pytest.fixture
def mirror(harness: Harness) -> Registry:
    """A mirror without a password."""
    registry = harness.device.start_registry([MIRROR_HOST])
    registry.wait_ready()
    return registry


def layers(seed: str) -> list[Any]:
    return [random_layer(seed, 300_000)]


def blobs_from(registry: Registry, *, but: PushedImage | None = None) -> int:
    """How many were handed out, without the configuration of `but`: Podman reads that again."""
    config = but.config_digest if but is not None else "none"
    return sum(r.is_blob and config not in r.path for r in registry.requests())


def names(harness: Harness) -> set[str]:
    """Everything that the engine's images are called: tags, and repositories of digests."""
    with harness.device.engine.client() as client:
        return {
            name.partition("@")[0]
            for image in client.api.images()
            for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()))
        }


def test_layers_come_from_the_mirror_and_the_name_from_the_registry(
    harness: Harness, mirror: Registry
) -> None:
    pushed = push_image(harness.device.public, "app/one", "1", layers=layers("mirrored"))
    push_image(mirror, "cache/app/one", "1", layers=layers("mirrored"))

    with harness.service(mirrored(f"{MIRROR_HOST}/cache")):
        ready = harness.wait_for_image(IMAGE, "READY")

    assert ready["digest"] == pushed.manifest_digest
    assert blobs_from(mirror) >= 1
    assert blobs_from(harness.device.public, but=pushed) == 0
    assert any(request.is_manifest for request in harness.device.public.requests())
    assert names(harness) == {f"{ECR_PUBLIC_HOST}/app/one:1", f"{ECR_PUBLIC_HOST}/app/one"}


def test_a_private_ecr_is_a_mirror_with_its_own_token(harness: Harness) -> None:
    pushed = push_image(harness.device.public, "app/one", "1", layers=layers("cached"))
    push_image(harness.device.ecr, "public/app/one", "1", layers=layers("cached"))
    image = f"docker:{ECR_PUBLIC_HOST}/app/one@{pushed.manifest_digest}"
    configuration = {**mirrored(f"{ECR_HOST}/public"), "images": [image]}

    with harness.service(configuration):
        harness.wait_for_image(image, "READY")

    assert blobs_from(harness.device.ecr) >= 1
    assert blobs_from(harness.device.public, but=pushed) == 0
    assert names(harness) == {f"{ECR_PUBLIC_HOST}/app/one"}


def test_a_stale_mirror_costs_no_download_and_gives_no_wrong_image(
    harness: Harness, mirror: Registry
) -> None:
    push_image(mirror, "app/one", "1", layers=layers("old"))
    pushed = push_image(harness.device.public, "app/one", "1", layers=layers("new"))

    with harness.service(mirrored(MIRROR_HOST)) as service:
        ready = harness.wait_for_image(IMAGE, "READY")

    assert (ready["digest"], ready["attempt"]) == (pushed.manifest_digest, 1)
    assert blobs_from(mirror) == 0
    assert "going on without mirror" in service.log_text()


@pytest.mark.not_on("docker26", reason="What arrived damaged stays until it is restarted")
def test_a_mirror_that_alters_layers_is_done_without(harness: Harness, mirror: Registry) -> None:
    pushed = push_image(harness.device.public, "app/one", "1", layers=layers("altered"))
    push_image(mirror, "app/one", "1", layers=layers("altered"))
    proxy = harness.device.put_https_between(mirror)
    proxy.inject(Fault(path=BLOBS, method="GET", corrupt=True, times=20))

    with harness.service(mirrored(MIRROR_HOST)):
        ready = harness.wait_for_image(IMAGE, "READY")

    assert ready["digest"] == pushed.manifest_digest
    assert names(harness) == {f"{ECR_PUBLIC_HOST}/app/one:1", f"{ECR_PUBLIC_HOST}/app/one"}


def test_a_mirror_that_is_away_is_asked_once_and_then_left_out(harness: Harness) -> None:
    mirror = harness.device.start_registry([MIRROR_HOST])
    mirror.wait_ready()
    mirror.stop()
    images = [f"docker:{ECR_PUBLIC_HOST}/app/n{number}:1" for number in range(3)]
    for number in range(3):
        push_image(harness.device.public, f"app/n{number}", "1", layers=layers(f"n{number}"))
    configuration = {
        **mirrored(MIRROR_HOST),
        "images": images,
        "maxConcurrentPulls": 1,
        # Full jitter: with a maximum as well, the wait is between 0.5 s and this.
        "retry": {"initialSeconds": 300, "maxSeconds": 300},
    }

    with harness.service(configuration) as service:
        for image in images:
            assert harness.wait_for_image(image, "READY")["attempt"] == 1

    assert service.log_text().count("going on without mirror") == 1


def test_a_mirror_is_no_substitute_for_the_registrys_word(
    harness: Harness, mirror: Registry
) -> None:
    push_image(mirror, "app/one", "1", layers=layers("unvouched"))
    harness.device.public.stop()

    with harness.service(mirrored(MIRROR_HOST)):
        retrying = harness.wait_for_image(IMAGE, "RETRYING")
        pushed_to = harness.device.public
        pushed_to.start()
        pushed_to.wait_ready()
        pushed = push_image(pushed_to, "app/one", "1", layers=layers("unvouched"))
        ready = harness.wait_for_image(IMAGE, "READY")

    assert retrying["error"]["code"] == "NETWORK_ERROR"
    assert ready["digest"] == pushed.manifest_digest
    assert blobs_from(mirror) >= 1
    assert f"{MIRROR_HOST}/app/one:1" not in names(harness)


@pytest.mark.not_on("podman", reason="Its insecure registries stand in a file of its own")
def test_a_registry_that_nobody_vouches_for_is_used_when_the_engine_is_told_too(
    harness: Harness,
) -> None:
    device = harness.device
    stranger = CertificateAuthority(device.folder / "certificates", "stranger")
    registry = device.start_registry([OTHER_HOST], authority=stranger)
    registry.wait_ready()
    push_image(registry, "app/one", "1", layers=layers("insecure"))
    push_image(registry, "app/large", "1", layers=[random_layer("large", 40_000_000)])
    small = device.start_small_engine(128, config={"insecure-registries": [OTHER_HOST]})
    small.wait_ready()
    one, large = (f"docker:{OTHER_HOST}/app/{name}:1" for name in ("one", "large"))
    configuration = {
        "images": [one, large],
        "registries": {OTHER_HOST: {"insecure": True}},
        "startup": {"onFailure": "continue"},
        **QUICK,
    }

    with harness.service(configuration, DOCKER_HOST=small.host):
        harness.wait_for_image(one, "READY")
        refused = harness.wait_for_image(large, "RETRYING")

    assert refused["error"]["code"] == "DISK_SPACE_CRITICAL"
    # Our own words: its size was read from a registry that has no proper certificate.
    assert "are free" in refused["error"]["message"]


def test_an_engine_that_was_not_told_of_an_insecure_registry_is_named(harness: Harness) -> None:
    device = harness.device
    stranger = CertificateAuthority(device.folder / "certificates", "stranger")
    registry = device.start_registry([OTHER_HOST], authority=stranger)
    registry.wait_ready()
    push_image(registry, "app/one", "1")
    image = f"docker:{OTHER_HOST}/app/one:1"

    with harness.service({"images": [image], "registries": {OTHER_HOST: {"insecure": True}}}):
        retrying = harness.wait_for_image(image, "RETRYING")

    assert "insecure-registries in the engine's daemon.json" in retrying["error"]["hint"]


def test_the_command_line_keeps_to_the_components_configuration(
    harness: Harness, mirror: Registry
) -> None:
    pushed = push_image(harness.device.public, "app/one", "1", layers=layers("commanded"))
    push_image(mirror, "app/one", "1", layers=layers("commanded"))
    configuration = {
        **mirrored(MIRROR_HOST),
        "images": [],
        "allowedRegistries": [ECR_PUBLIC_HOST],
    }
    with harness.service(configuration):
        harness.ipc.wait_for(StateReport, lambda report: report.state == "RUNNING")

    pulled = harness.run("pull", IMAGE)
    forbidden = harness.run("pull", "docker:nginx:1")

    assert pulled.code == 0, pulled.err
    assert blobs_from(mirror) >= 1
    assert blobs_from(harness.device.public, but=pushed) == 0
    assert forbidden.code == 3
    assert "REGISTRY_NOT_ALLOWED" in forbidden.out + forbidden.err
