"""The fixtures that tests of several folders share. Unit tests use none of the device's."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sandbox.device import Device
    from tests.sandbox.engine import Engine


pytest_plugins = ["tests.secrecy"]

_FOREIGN = re.compile(r"(AWS|COMPOSE|DOCKER)_.*|.*_proxy", re.IGNORECASE)
"""Settings of the host that would lead tests out of the sandbox, or to credentials of a person."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--engine`: the product's tests run on other engines, too."""
    parser.addoption(
        "--engine",
        choices=["docker", "docker26", "podman"],
        default=os.environ.get("DOCKERMGR_TEST_ENGINE", "docker"),
        help="the engine of the device in a box; see tests/sandbox/engines.py",
    )


def pytest_configure(config: pytest.Config) -> None:
    """`not_on`: what an engine cannot do, in the words of docs/engines.md."""
    config.addinivalue_line(
        "markers", "not_on(engine, reason): that engine cannot; see docs/engines.md"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what the engine cannot do: nothing is skipped, for nothing could be mended."""
    engine = config.getoption("--engine")
    out = [i for i in items if any(m.args == (engine,) for m in i.iter_markers("not_on"))]
    items[:] = [item for item in items if item not in out]
    config.hook.pytest_deselected(items=out)


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """The device in a box, one for all tests. Where it can't be made they fail: none is skipped."""
    # Imported here, so that unit tests start quickly, and on machines without its parts.
    from tests.sandbox.device import Device
    from tests.sandbox.engines import Variant
    from tests.sandbox.processes import SandboxError

    variant = Variant(request.config.getoption("--engine"))
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as parts:
        for name in filter(_FOREIGN.fullmatch, list(os.environ)):
            patch.delenv(name)
        try:
            made = parts.enter_context(Device(variant))
        except SandboxError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        patch.setenv("HOME", made.environment()["HOME"])
        yield made


@pytest.fixture
def fresh_device(device: Device) -> Device:
    """The device as after its start: all parts run, no images, nothing counted, no faults."""
    device.reset()
    return device


@pytest.fixture
def engine(fresh_device: Device) -> Engine:
    """The engine of a fresh device."""
    return fresh_device.engine
