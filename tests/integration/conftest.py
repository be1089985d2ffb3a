"""Fixtures of the tests that leave the process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.harness import Harness
from tests.sandbox.core import Core
from tests.sandbox.device import Device
from tests.sandbox.ipc import Dialect


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def core(request: pytest.FixtureRequest, fresh_device: Device) -> Iterator[Core]:
    """A core device, of each nucleus in turn."""
    with Core(fresh_device, request.param) as made:
        yield made


@pytest.fixture
def java_core(fresh_device: Device) -> Iterator[Core]:
    """A core device with the Java nucleus, where the dialects make no difference."""
    with Core(fresh_device, Dialect.JAVA) as made:
        yield made


@pytest.fixture
def harness(java_core: Core) -> Harness:
    """The command line and the service under test, on the Java nucleus."""
    return Harness(java_core)


@pytest.fixture
def each_harness(core: Core) -> Harness:
    """The command line and the service under test, on each nucleus in turn."""
    return Harness(core)
