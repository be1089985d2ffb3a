"""A server in either dialect, and a client connected to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sandbox_ipc.client import Client, components, connected
from tests.sandbox.ipc import Dialect, IpcServer


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IpcServer]:
    with IpcServer(tmp_path / "ipc.socket", request.param, components()) as running:
        yield running


@pytest.fixture
def java(tmp_path: Path) -> Iterator[IpcServer]:
    with IpcServer(tmp_path / "ipc.socket", Dialect.JAVA, components()) as running:
        yield running


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[IpcServer]:
    with IpcServer(tmp_path / "ipc.socket", Dialect.LITE, components()) as running:
        yield running


@pytest.fixture
def client(server: IpcServer) -> Iterator[Client]:
    with connected(server) as there:
        yield there


@pytest.fixture
def java_client(java: IpcServer) -> Iterator[Client]:
    with connected(java) as there:
        yield there


@pytest.fixture
def lite_client(lite: IpcServer) -> Iterator[Client]:
    with connected(lite) as there:
        yield there
