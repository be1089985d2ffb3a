"""A site whose registries and AWS are reached through a proxy only: the way there, and its troubles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import pytest

from tests.integration.harness import Harness
from tests.integration.registry_faults import IMAGE, QUICK
from tests.integration.test_faults_aws import trouble
from tests.integration.test_load import BUCKET, put_object
from tests.sandbox import box
from tests.sandbox.archives import archive, saved_image
from tests.sandbox.aws import REGION
from tests.sandbox.device import ECR_HOST, HUB_NAMES, Device
from tests.sandbox.engine import Engine
from tests.sandbox.forward_proxy import ForwardProxy
from tests.sandbox.images import push_image
from tests.sandbox.processes import Process

pytestmark = pytest.mark.timeout(180)

API = f"api.ecr.{REGION}.amazonaws.com"
S3 = f"{BUCKET}.s3.amazonaws.com"
LOGIN = "site:pass%40word-of-the-proxy"
HUB_IMAGE = "docker:tool:1"
REAL_AWS = {"AWS_ENDPOINT_URL": ""}
"""AWS is known by its own names only."""
NO_BRIDGE = {"bridge": "none", "iptables": False}


@dataclass(frozen=True, slots=True)
class Site:
    """A proxy that alone knows where the private ECR, Docker Hub and AWS are."""

    harness: Harness
    proxy: ForwardProxy

    @property
    def device(self) -> Device:
        return self.harness.device

    def engine(self, **variables: str) -> Engine:
        """One more engine, with these variables; the proxy's where there are none."""
        engine = self.device.start_engine(
            "behind", config=NO_BRIDGE, environment=variables or self.proxy.variables()
        )
        engine.wait_ready()
        return engine

    def service(
        self, image: str, engine: Engine, proxy: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[Process]:
        """The service, which wants the image, with these variables; the proxy's where there are none."""
        proxy = self.proxy.variables() if proxy is None else proxy
        variables = {**REAL_AWS, **proxy, "DOCKER_HOST": engine.host}
        return self.harness.service({"images": [image], **QUICK}, **variables)

    def error(self, words: str) -> dict[str, Any]:
        """The first error with these words."""
        error = trouble(self.harness, words)["error"]
        assert isinstance(error, dict)
        assert (error["code"], error["retryable"]) == ("NETWORK_ERROR", True)
        return error


@contextlib.contextmanager
def behind_a_proxy(harness: Harness) -> Iterator[Site]:
    device = harness.device
    device.lead_to_aws(API, S3)
    push_image(device.ecr, "app/one", "1")
    push_image(device.public, "library/tool", "1")
    names = {name: device.dns.names.pop(name) for name in (ECR_HOST, *HUB_NAMES, API, S3)}
    with ForwardProxy(f"{box.NETWORK}.59", names, login=LOGIN) as proxy:
        yield Site(harness, proxy)


@pytest.fixture
def each_site(each_harness: Harness) -> Iterator[Site]:
    with behind_a_proxy(each_harness) as made:
        yield made


@pytest.fixture
def site(harness: Harness) -> Iterator[Site]:
    with behind_a_proxy(harness) as made:
        yield made


def test_registry_and_aws_are_reached_through_the_proxy_and_nothing_else_is(
    each_site: Site,
) -> None:
    """The token exchange service is not: on Lite, NO_PROXY need not name localhost."""
    site = each_site
    engine = site.engine()

    with site.service(IMAGE, engine):
        ready = site.harness.wait_for_image(IMAGE, "READY")

    assert ready["error"] is None
    assert {*site.proxy.targets} == {f"{API}:443", f"{ECR_HOST}:443"}
    assert site.proxy.others == []
    assert len(site.harness.core.tes.requests) == 1


def test_an_archive_in_s3_comes_through_the_proxy(site: Site) -> None:
    place = put_object(site.harness, archive(saved_image("app:1")))

    done = site.harness.run("load", place, **REAL_AWS, **site.proxy.variables())

    assert done.code == 0, done.err
    assert "app:1" in site.device.engine.tags()
    assert {*site.proxy.targets} == {f"{S3}:443"}
    assert site.proxy.others == []


def test_what_no_proxy_names_is_reached_directly(site: Site) -> None:
    site.device.dns.names.update(site.proxy.names)
    variables = {**site.proxy.variables(), "NO_PROXY": f"localhost,.{REGION}.amazonaws.com"}
    engine = site.engine(**variables)

    with site.service(IMAGE, engine, variables):
        ready = site.harness.wait_for_image(IMAGE, "READY")

    assert ready["error"] is None
    assert site.proxy.targets == []


PROXYS_OWN = [
    (HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "answered HTTP 407", "another login"),
    (HTTPStatus.FORBIDDEN, "answered HTTP 403", "let the proxy allow that host"),
    (HTTPStatus.BAD_GATEWAY, "answered HTTP 502", "its own log says why"),
]


def test_a_proxy_that_refuses_is_named_without_its_password(site: Site) -> None:
    engine = site.engine()
    site.proxy.status = PROXYS_OWN[0][0]

    with site.service(IMAGE, engine):
        for status, words, mend in PROXYS_OWN:
            site.proxy.status = status
            error = site.error(words)
            assert f"the proxy {site.proxy.shown} " in error["message"]
            assert mend in error["hint"]
        site.proxy.status = None
        site.harness.wait_for_image(IMAGE, "READY")


def test_a_proxy_that_is_down_is_named(site: Site) -> None:
    site.proxy.close()

    with site.service(IMAGE, site.device.engine):
        error = site.error(f"no connection to the proxy {site.proxy.shown} (Connection refused)")

    assert "networkProxy" in error["hint"]


TO_THE_ENGINE = [
    (HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "Proxy Authentication Required", "another one"),
    (HTTPStatus.FORBIDDEN, "Forbidden", "let it allow that host"),
    (HTTPStatus.BAD_GATEWAY, "Bad Gateway", "let it allow that host"),
]


def test_a_proxy_that_refuses_the_engine_is_named_without_its_password(site: Site) -> None:
    """Docker Hub: nothing but the engine goes there."""
    engine = site.engine()
    site.proxy.status = TO_THE_ENGINE[0][0]

    with site.service(HUB_IMAGE, engine):
        for status, words, mend in TO_THE_ENGINE:
            site.proxy.status = status
            error = site.error(words)
            assert mend in error["hint"]
            assert f"through the proxy {site.proxy.shown}" in error["hint"]
        site.proxy.status = None
        site.harness.wait_for_image(HUB_IMAGE, "READY")


def test_a_proxy_that_is_down_for_the_engine_is_named(site: Site) -> None:
    engine = site.engine()
    site.proxy.close()

    with site.service(HUB_IMAGE, engine):
        error = site.error("proxyconnect")

    assert "the engine gets no connection to its proxy" in error["hint"]
    assert f"through the proxy {site.proxy.shown}" in error["hint"]


def test_an_engine_that_does_not_use_the_components_proxy_is_told(site: Site) -> None:
    with site.service(IMAGE, site.device.engine):
        error = site.error("no such host")

    assert error["hint"].startswith(
        f"this component reaches {ECR_HOST} through the proxy {site.proxy.shown}, and the engine"
        " without a proxy: give both the same proxy settings"
    )


def test_a_component_that_does_not_use_the_engines_proxy_is_told(site: Site) -> None:
    with site.service(IMAGE, site.engine(), {}):
        error = site.error(f"no connection to https://{API}")

    assert f"and the engine through the proxy {site.proxy.shown}" in error["hint"]
