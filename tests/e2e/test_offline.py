"""The built component at a site with no internet: what it asks of the network, by name, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.e2e.test_component import wait_running
from tests.sandbox.aws import REGION
from tests.sandbox.core import Core
from tests.sandbox.demo import BUILD
from tests.sandbox.device import ECR_HOST, OTHER_CREDENTIALS, OTHER_HOST, Device
from tests.sandbox.faults.https import BLOB_HOST
from tests.sandbox.images import push_image
from tests.sandbox.ipc import Dialect
from tests.sandbox.processes import Process

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]

API = f"api.ecr.{REGION}.amazonaws.com"


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def core(request: pytest.FixtureRequest, fresh_device: Device) -> Iterator[Core]:
    fresh_device.dns.names.clear()
    with Core(fresh_device, request.param) as made:
        yield made


@contextlib.contextmanager
def manager(core: Core, configuration: Mapping[str, Any]) -> Iterator[Process]:
    """The built component, RUNNING, which knows AWS by its own names only."""
    (artifacts,) = (BUILD / "artifacts").glob("*/*")
    installed = core.install(BUILD / "recipes" / "recipe.yaml", artifacts, merge=configuration)
    process = Process(
        "the manager",
        ["sh", "-c", installed.scripts["startup"]],
        log=core.root / "manager.log",
        environment={**core.environment(installed.name), "AWS_ENDPOINT_URL": ""},
        folder=installed.work,
    )
    process.start()
    try:
        wait_running(core, process)
        yield process
    finally:
        process.stop()


def test_a_private_registry_is_all_that_its_images_need(core: Core) -> None:
    """No name of AWS is looked up, and the token exchange service is not asked."""
    registry = core.device.start_other_registry()
    push_image(registry, "app/one", "1")
    secret = core.root / "password"
    secret.write_text(OTHER_CREDENTIALS.password)
    login = {"username": OTHER_CREDENTIALS.user, "passwordFile": str(secret)}
    image = f"{OTHER_HOST}/app/one:1"

    with manager(core, {"images": [f"docker:{image}"], "registries": {OTHER_HOST: login}}):
        secret.unlink()

    assert core.device.engine.tags() == {image}
    assert core.device.dns.asked == {OTHER_HOST}
    assert core.tes.requests == []


def test_a_private_ecr_takes_three_names(core: Core) -> None:
    device = core.device
    device.lead_to_aws(API)
    push_image(device.ecr, "app/one", "1")
    registry = device.put_https_between(device.ecr)
    registry.redirects_blobs = True
    device.dns.asked.clear()  # the sandbox's own servers look up themselves

    with manager(core, {"images": [f"docker:{ECR_HOST}/app/one:1"]}):
        assert device.engine.tags() == {f"{ECR_HOST}/app/one:1"}

    assert device.dns.asked == {API, ECR_HOST, BLOB_HOST}
