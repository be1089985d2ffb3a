"""What features give to a container."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.passthrough import (
    FORWARD_ADDRESS,
    FORWARD_NETWORK,
    HOST_NETWORK_WARNING,
    CannotPass,
    Feature,
    Passthrough,
    docker_flags,
    forwarded,
    parse_features,
    pass_through,
)

SOCKET = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
ENVIRONMENT = {
    SOCKET: "/greengrass/v2/ipc.socket",
    "SVCUID": "a-token",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a-token",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost:4000/2016-11-01/credentialprovider/",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "HOME": "/home/ggc_user",
}
WORK = "/greengrass/v2/work/com.example.App"


def passed(*features: Feature) -> Passthrough:
    return pass_through(features, ENVIRONMENT, WORK)


def test_nothing_is_passed_unasked() -> None:
    assert passed() == Passthrough({})
    assert docker_flags(passed()) == []


def test_ipc_is_the_socket_and_who_we_are() -> None:
    found = passed(Feature.IPC)
    assert found.variables == {SOCKET: "/greengrass/v2/ipc.socket", "SVCUID": "a-token"}
    assert found.mounts == ("/greengrass/v2/ipc.socket",)
    assert (found.network, found.warnings) == (None, ())


def test_tes_is_over_the_hosts_network_with_its_warning() -> None:
    found = passed(Feature.TES)
    assert set(found.variables) == {
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    }
    assert (found.network, found.warnings) == ("host", (HOST_NETWORK_WARNING,))


def test_tes_through_the_forwarder_has_a_network_of_its_own_and_no_warning() -> None:
    found = passed(Feature.TES_FORWARD)
    assert found.variables == passed(Feature.TES).variables
    assert (found.network, found.warnings) == (FORWARD_NETWORK, ())


def test_the_stream_managers_port_is_told() -> None:
    assert passed(Feature.STREAM_MANAGER).variables == {
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a-token",
        "STREAM_MANAGER_SERVER_PORT": "8088",
    }
    other = pass_through([Feature.STREAM_MANAGER], ENVIRONMENT, WORK, stream_manager_port=9000)
    assert other.variables["STREAM_MANAGER_SERVER_PORT"] == "9000"
    assert other.network == "host"


def test_the_work_folder_is_mounted_where_it_is() -> None:
    assert passed(Feature.WORK) == Passthrough({}, mounts=(WORK,))


def test_all_at_once() -> None:
    found = passed(Feature.WORK, Feature.STREAM_MANAGER, Feature.TES, Feature.IPC)
    assert found.mounts == ("/greengrass/v2/ipc.socket", WORK)
    assert set(found.variables) == {*ENVIRONMENT, "STREAM_MANAGER_SERVER_PORT"} - {"HOME"}


def test_docker_is_given_names_and_never_values() -> None:
    flags = docker_flags(passed(Feature.IPC, Feature.TES, Feature.WORK))
    assert not any("a-token" in flag for flag in flags)
    assert flags[:2] == ["--env", SOCKET]
    assert ["--mount", f"type=bind,source={WORK},target={WORK}"] == flags[-4:-2]
    assert flags[-2:] == ["--network", "host"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1))
def test_any_path_can_be_mounted(path: str) -> None:
    _, mount = docker_flags(Passthrough({}, mounts=(path,)))
    assert next(csv.reader([mount])) == ["type=bind", f"source={path}", f"target={path}"]


@pytest.mark.parametrize(
    ("feature", "variable", "mend"),
    [
        (Feature.IPC, SOCKET, "lifecycle script"),
        (Feature.IPC, "SVCUID", "lifecycle script"),
        (Feature.TES, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "TokenExchangeService"),
        (Feature.TES_FORWARD, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "TokenExchangeService"),
        (Feature.STREAM_MANAGER, "AWS_CONTAINER_AUTHORIZATION_TOKEN", "lifecycle script"),
    ],
)
def test_what_is_missing_is_named_with_the_mend(feature: Feature, variable: str, mend: str) -> None:
    environment = {**ENVIRONMENT, variable: ""}
    with pytest.raises(CannotPass, match=f"{feature.value}: {variable} is not set.*{mend}"):
        pass_through([feature], environment, WORK)


@pytest.mark.parametrize("other", [Feature.TES, Feature.STREAM_MANAGER])
def test_the_forwarder_is_not_for_the_hosts_network(other: Feature) -> None:
    with pytest.raises(CannotPass, match=f"drop {other.value}"):
        passed(Feature.TES_FORWARD, other)


def test_a_device_without_a_region_passes_none() -> None:
    environment = {**ENVIRONMENT, "AWS_REGION": "", "AWS_DEFAULT_REGION": ""}
    variables = pass_through([Feature.TES], environment, WORK).variables
    assert not set(variables) & {"AWS_REGION", "AWS_DEFAULT_REGION"}


def test_features_are_read_in_any_case_and_order() -> None:
    assert parse_features("work, IPC,tes=forward") == [
        Feature.WORK,
        Feature.IPC,
        Feature.TES_FORWARD,
    ]


@pytest.mark.parametrize("text", ["", "ipc,", "gpu", "tes=bridge", "ipc tes"])
def test_an_unknown_feature_is_told_with_those_there_are(text: str) -> None:
    with pytest.raises(CannotPass, match="ipc, tes, tes=forward, stream-manager, work"):
        parse_features(text)


def test_the_forwarders_address_keeps_the_path() -> None:
    uri = ENVIRONMENT["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    expected = f"http://{FORWARD_ADDRESS}:5001/2016-11-01/credentialprovider/"
    assert forwarded(uri, 5001) == expected
