"""`dockermgr run --pass`: what really reaches a container, and who else gets nothing."""

from __future__ import annotations

import json
import socket
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockermgr.passthrough import FORWARD_ADDRESS, FORWARD_NETWORK, HOST_NETWORK_WARNING
from tests.integration.harness import Harness
from tests.integration.running import FOREVER, IMAGE, Runner, clear, ours, push
from tests.sandbox.processes import wait_until

pytestmark = pytest.mark.timeout(180)

GET_CREDENTIALS = (
    'wget -q -O - --header "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN"'
    " $AWS_CONTAINER_CREDENTIALS_FULL_URI"
)
SOCKET = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"


@pytest.fixture
def runner(each_harness: Harness) -> Iterator[Runner]:
    push(each_harness)
    yield Runner(each_harness)
    clear(each_harness)


def variables(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_nothing_is_passed_unasked(runner: Runner) -> None:
    found = variables(runner.run(IMAGE, "--", "env").out)
    assert not [name for name in found if name.startswith(("AWS", "SVC", "DOCKER", "STREAM"))]


def test_ipc_is_the_socket_at_its_place_and_the_token(runner: Runner) -> None:
    environment = runner.environment()
    path = environment[SOCKET]

    done = runner.run("--pass", "ipc", IMAGE, "--", "sh", "-c", f"env; test -S {path} && echo S=1")

    found = variables(done.out)
    assert found["S"] == "1", done.err
    assert found["SVCUID"] == environment["SVCUID"]
    assert found[SOCKET] == path
    assert "AWS_CONTAINER_AUTHORIZATION_TOKEN" not in found


def test_tes_over_the_hosts_network(runner: Runner) -> None:
    done = runner.run("--pass", "tes", IMAGE, "--", "sh", "-c", f"{GET_CREDENTIALS}; echo; env")

    document, *rest = done.out.splitlines()
    credentials = runner.harness.core.tes.credentials
    assert json.loads(document)["AccessKeyId"] == credentials.access_key_id
    assert variables("\n".join(rest))["AWS_REGION"] == "us-east-1"
    assert HOST_NETWORK_WARNING in done.err


def test_tes_through_the_forwarder(runner: Runner) -> None:
    words = ("sh", "-c", f"{GET_CREDENTIALS}; echo; env; cat /proc/net/dev")
    for _ in range(2):  # the network is made by the first, and found by the second
        done = runner.run("--pass", "tes=forward", IMAGE, "--", *words)

        document, *rest = done.out.splitlines()
        credentials = runner.harness.core.tes.credentials
        assert json.loads(document)["AccessKeyId"] == credentials.access_key_id
        uri = next(line for line in rest if line.startswith("AWS_CONTAINER_CREDENTIALS_FULL_URI="))
        assert f"http://{FORWARD_ADDRESS}:" in uri
        assert "docker0" not in done.out
        assert HOST_NETWORK_WARNING not in done.err


def test_botocore_takes_credentials_from_the_forwarders_address() -> None:
    """The rule that all AWS SDKs share is why there is this address."""
    from botocore.utils import ContainerMetadataFetcher

    ContainerMetadataFetcher._validate_allowed_url(
        ContainerMetadataFetcher(), f"http://{FORWARD_ADDRESS}:4711/"
    )


def test_the_forwarder_serves_its_own_container_only(runner: Runner) -> None:
    """Neither another component's container, on the same network, nor this device's processes."""
    with runner.up("--pass", "tes=forward", IMAGE, *FOREVER):
        (container,) = ours(runner.harness)
        found = variables("\n".join(container.attrs["Config"]["Env"]))
        uri = found["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        get = f"wget -q -O - --header 'Authorization: {runner.environment()['SVCUID']}' {uri}"
        assert container.exec_run(["sh", "-c", get]).exit_code == 0
        asked = len(runner.harness.core.tes.requests)

        other = Runner(runner.harness, "com.example.Other")
        assert other.run(IMAGE, "--network", FORWARD_NETWORK, "--", "sh", "-c", get).code != 0
        assert other.run(IMAGE, "--", "sh", "-c", get).code != 0
        port = urllib.parse.urlsplit(uri).port
        assert port is not None
        with socket.create_connection((FORWARD_ADDRESS, port), timeout=30) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.recv(100) == b""
        assert len(runner.harness.core.tes.requests) == asked


def test_the_work_folder_is_at_its_place(runner: Runner) -> None:
    file = runner.work / "from the container"

    done = runner.run("--pass", "work", IMAGE, "--", "sh", "-c", f"echo here > '{file}'")

    assert done.code == 0, done.err
    assert file.read_text() == "here\n"


@pytest.mark.parametrize(
    ("configured", "port"),
    [(None, "8088"), ({}, "8088"), (9009, "9009"), ("9009", "9009"), (9009.0, "9009")],
)
def test_the_stream_managers_port_is_its_configurations(
    runner: Runner, configured: object, port: str
) -> None:
    if configured is not None:
        value = {} if configured == {} else {"STREAM_MANAGER_SERVER_PORT": configured}
        runner.harness.core.add_component("aws.greengrass.StreamManager", configuration=value)

    script = "env; nc localhost $STREAM_MANAGER_SERVER_PORT"
    with socket.create_server(("127.0.0.1", int(port))) as server, ThreadPoolExecutor() as pool:
        server.settimeout(90)
        accepted = pool.submit(server.accept)
        running = pool.submit(
            runner.run, "--pass", "stream-manager", IMAGE, "--", "sh", "-c", script
        )
        accepted.result()[0].close()
        done = running.result()

    found = variables(done.out)
    assert found["STREAM_MANAGER_SERVER_PORT"] == port
    assert found["AWS_CONTAINER_AUTHORIZATION_TOKEN"] == runner.environment()["SVCUID"]
    assert HOST_NETWORK_WARNING in done.err


def test_secrets_are_on_no_command_line_and_in_no_file(runner: Runner) -> None:
    secret = runner.environment()["SVCUID"]
    with runner.up("--pass", "ipc,tes,work,stream-manager", IMAGE, *FOREVER) as process:
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert secret.encode() not in line.read_bytes(), line
            except OSError:
                continue  # it has ended
        (container,) = ours(runner.harness)
        assert not [value for value in container.labels.values() if secret in value]
        assert secret not in process.log_text()
    for folder in (runner.harness.home, runner.work):
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert not [file for file in files if secret.encode() in file.read_bytes()]


def test_what_cannot_be_passed_is_told_before_anything_is_pulled(runner: Runner) -> None:
    cases = {
        ("--pass", "gpu", IMAGE): "write one or more of ipc",
        ("--pass", "tes,tes=forward", IMAGE): "drop tes",
        ("--pass", "tes", IMAGE, "--network", "bridge"): "--network bridge",
        ("--pass", "stream-manager", IMAGE, "--net=bridge"): "--network bridge",
    }
    for words, message in cases.items():
        done = runner.run(*words)
        assert (done.code, done.out) == (125, "")
        assert message in done.err
        assert "PULLING" not in done.err
    without = runner.run("--pass", "tes", IMAGE, AWS_CONTAINER_CREDENTIALS_FULL_URI="")
    assert without.code == 125
    assert "aws.greengrass.TokenExchangeService" in without.err
    outside = runner.run("--pass", "ipc", IMAGE, SVCUID="")
    assert outside.code == 125
    assert "lifecycle script" in outside.err


def test_a_socket_that_is_not_there_is_not_made_a_folder(runner: Runner) -> None:
    absent = runner.work / "absent.socket"
    done = runner.run("--pass", "ipc", IMAGE, **{SOCKET: str(absent)})
    assert done.code == 125
    assert f"there is no IPC socket {absent}" in done.err
    assert not absent.exists()


def test_the_forwarder_ends_with_its_container(runner: Runner) -> None:
    with runner.up("--pass", "tes=forward", IMAGE, *FOREVER) as process:
        (container,) = ours(runner.harness)
        found = variables("\n".join(container.attrs["Config"]["Env"]))
        port = urllib.parse.urlsplit(found["AWS_CONTAINER_CREDENTIALS_FULL_URI"]).port
        container.kill()
        assert process.wait_ended(30)
        assert process.exit_code == 137

    def refused() -> bool:
        with socket.socket() as connection:
            return bool(connection.connect_ex((FORWARD_ADDRESS, port)))

    wait_until(refused, "the end of the forwarder")
