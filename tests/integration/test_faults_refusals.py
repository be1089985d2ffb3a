"""What no waiting mends: images that are not there, or not for this device or its password."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import MANAGER, Harness
from tests.integration.registry_faults import (
    IMAGE,
    OPTIONAL,
    QUICK,
    errors_of,
    https_between,
)
from tests.sandbox.device import ECR_HOST, OTHER_CREDENTIALS, OTHER_HOST
from tests.sandbox.faults import answers
from tests.sandbox.faults.answers import Answer
from tests.sandbox.faults.rules import MANIFESTS, PING, Fault
from tests.sandbox.images import Platform, push_image, push_multi_platform
from tests.sandbox.processes import Process
from tests.sandbox.registry import Registry

pytestmark = pytest.mark.timeout(120)

PRIVATE = f"docker:{OTHER_HOST}/app/one:1"
TOKENS = f"https://{OTHER_HOST}/token"
ASKS_FOR_TOKEN = Answer(
    401, b"", {"WWW-Authenticate": f'Bearer realm="{TOKENS}",service="{OTHER_HOST}"'}
)


def failed(harness: Harness, image: str = IMAGE) -> dict[str, Any]:
    """The error that an image fails with, at the first attempt."""
    message = harness.wait_for_image(image, "FAILED")
    assert message["attempt"] == 1
    error = message["error"]
    assert isinstance(error, dict)
    assert not error["retryable"]
    return error


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("MANIFEST_UNKNOWN", "Requested image not found"),
        ("NAME_UNKNOWN", "The repository with name 'app/one' does not exist in the registry"),
    ],
)
def test_an_image_that_is_not_there(harness: Harness, code: str, words: str) -> None:
    unknown = answers.registry_error(404, code, words)
    proxy = https_between(harness, Fault(path=MANIFESTS, answer=unknown, times=math.inf))

    with harness.service(OPTIONAL):
        error = failed(harness)

    assert error["code"] == "DOCKER_IMAGE_NOT_VALID"
    assert "app/one" in error["message"]
    assert "typing errors" in error["hint"]
    assert len(proxy.requests(MANIFESTS)) <= 3


def test_what_failed_for_good_is_looked_at_again(harness: Harness) -> None:
    image = f"docker:{ECR_HOST}/app/late:1"
    late = {**OPTIONAL, "images": [{"uri": image, "required": False}]}
    harness.ipc.update_configuration(MANAGER, late)
    hurried = (
        "import sys; from dockermgr import cli, service;"
        " service.SECOND_LOOK_SECONDS = 3.0; sys.exit(cli.main(['serve']))"
    )
    process = Process(
        "dockermgr in a hurry",
        [sys.executable, "-c", hurried],
        log=harness.core.root / "dockermgr.log",
        environment=harness.environment(),
        folder=harness.home,
    )
    process.start()
    try:
        failed(harness, image)
        push_image(harness.device.ecr, "app/late", "1")
        harness.wait_for_image(image, "READY")
    finally:
        process.stop()


def test_a_repository_that_this_device_may_not_see(harness: Harness) -> None:
    denied = answers.registry_error(403, "DENIED", "requested access to the resource is denied")
    https_between(harness, Fault(path=MANIFESTS, answer=denied, times=math.inf))

    with harness.service(OPTIONAL):
        error = failed(harness)

    assert error["code"] == "DOCKER_IMAGE_NOT_VALID"
    assert "denied" in error["message"]
    assert "may read it" in error["hint"]


def test_a_role_that_may_not_read_the_image_is_told_the_action(harness: Harness) -> None:
    denied = answers.denied_by_iam("app/one")
    https_between(harness, Fault(path=MANIFESTS, answer=denied, times=math.inf))

    with harness.service(OPTIONAL):
        error = failed(harness)

    assert error["code"] == "DOCKER_PULL_ERROR"
    assert "ecr:BatchGetImage" in error["message"]


def test_an_image_for_other_platforms_names_them(harness: Harness) -> None:
    others = [Platform("s390x"), Platform("riscv64")]
    push_multi_platform(harness.device.ecr, "app/one", "1", platforms=others)

    with harness.service(OPTIONAL):
        error = failed(harness)

    assert error["code"] == "IMAGE_PLATFORM_MISMATCH"
    own = f"linux/{Platform().architecture}"
    assert f"not published for {own}" in error["message"]
    assert error["message"].endswith("only for linux/s390x, linux/riscv64")


def private_image(registry: Registry, password_file: Path, password: str) -> dict[str, Any]:
    """A configuration with an image of a private registry that is not ECR, and its password."""
    push_image(registry, "app/one", "1")
    password_file.write_text(password)
    login = {"username": OTHER_CREDENTIALS.user, "passwordFile": str(password_file)}
    images = [{"uri": PRIVATE, "required": False}]
    return {"images": images, "registries": {OTHER_HOST: login}, **QUICK}


def test_a_wrong_password_is_named_and_a_changed_configuration_mends_it(
    harness: Harness, tmp_path: Path
) -> None:
    registry = harness.device.start_other_registry()
    configuration = private_image(registry, tmp_path / "password", "wrong")

    with harness.service(configuration):
        error = failed(harness, PRIVATE)
        right = tmp_path / "right"
        right.write_text(OTHER_CREDENTIALS.password)
        configuration["registries"][OTHER_HOST]["passwordFile"] = str(right)
        harness.ipc.update_configuration(MANAGER, configuration)
        harness.wait_for_image(PRIVATE, "READY")

    assert error["code"] == "DOCKER_LOGIN_ERROR"
    assert "401 Unauthorized" in error["message"]
    assert "without credentials" in error["message"]
    assert f"credentials of {OTHER_HOST}" in error["hint"]


def test_a_login_that_is_denied_is_no_missing_image(harness: Harness, tmp_path: Path) -> None:
    registry = harness.device.start_other_registry()
    configuration = private_image(registry, tmp_path / "password", OTHER_CREDENTIALS.password)
    certificate = harness.device.authority.issue([OTHER_HOST])
    proxy = harness.device.put_https_between(registry, certificate)
    denied = answers.registry_error(403, "DENIED", "denied")
    proxy.inject(
        Fault(path=PING, answer=ASKS_FOR_TOKEN, times=math.inf),
        Fault(path="^/token", answer=denied, times=math.inf),
    )

    with harness.service(configuration):
        error = failed(harness, PRIVATE)

    assert error["code"] == "DOCKER_LOGIN_ERROR"
    assert f"credentials of {OTHER_HOST}" in error["hint"]


@pytest.mark.parametrize(
    "name", ["throttle:429", "denied:denied", "toomanyrequests:401", "x509/eof:unauthorized"]
)
def test_a_name_like_a_reason_is_not_taken_for_one(harness: Harness, name: str) -> None:
    image = f"docker:{name}"
    proxy = harness.device.put_https_between(harness.device.public)
    proxy.inject(Fault(path=MANIFESTS, answer=answers.server_error(503), times=math.inf))

    with harness.service({"images": [{"uri": image, "required": False}], **QUICK}):
        retrying = harness.wait_for_image(image, "RETRYING")
        proxy.mend()
        harness.wait_for_image(image, "FAILED")

    assert retrying["error"]["code"] == "DOCKER_PULL_ERROR"
    assert errors_of(harness) == ["DOCKER_PULL_ERROR", "DOCKER_IMAGE_NOT_VALID"]
