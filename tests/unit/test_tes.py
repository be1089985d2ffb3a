"""The device's credentials, from the token exchange service of either nucleus."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.tes import AwsCredentials, endpoint_of, fetch_credentials
from tests.sandbox.nucleus.model import Dialect
from tests.sandbox.tes import TesFault, TesServer

TOKEN = "0123456789ABCDEF"
URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def server(request: pytest.FixtureRequest) -> Iterator[TesServer]:
    with TesServer(request.param, [TOKEN]) as made:
        yield made


def fetch_error(uri: str, token: str = TOKEN, timeout_seconds: float = 5) -> DockermgrError:
    with pytest.raises(DockermgrError) as caught:
        fetch_credentials(uri, token, timeout_seconds=timeout_seconds)
    assert caught.value.hint
    return caught.value


def test_the_nucleus_says_where_it_is() -> None:
    assert endpoint_of({URI: "http://localhost:1/"}) == "http://localhost:1/"
    assert endpoint_of({URI: "http://localhost:1/", "SVCUID": "x"}) == "http://localhost:1/"


def test_outside_greengrass_there_is_none() -> None:
    assert endpoint_of({}) is None
    assert endpoint_of({URI: ""}) is None


@pytest.mark.parametrize("uri", [{}, {URI: ""}])
def test_a_component_without_the_dependency_is_told(uri: dict[str, str]) -> None:
    with pytest.raises(DockermgrError) as caught:
        endpoint_of({"SVCUID": "x", **uri})
    assert caught.value.code is ErrorCode.CREDENTIAL_ENDPOINT_AUTH_FAILURE
    assert caught.value.retry is Retry.NEVER
    assert "aws.greengrass.TokenExchangeService" in caught.value.hint


def test_credentials_come(server: TesServer) -> None:
    given = server.credentials
    found = fetch_credentials(server.uri, TOKEN)
    assert found == AwsCredentials(given.access_key_id, given.secret_access_key, given.token)
    for secret in (given.secret_access_key, given.token):
        assert secret not in repr(found)


def test_a_token_that_it_does_not_know_is_refused(server: TesServer) -> None:
    error = fetch_error(server.uri, "FEDCBA9876543210")
    assert error.code is ErrorCode.CREDENTIAL_ENDPOINT_AUTH_FAILURE
    assert error.retry is Retry.LIMITED
    assert "FEDCBA9876543210" not in str(error)


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        (TesFault.null_body(), "SERVER_ERROR", "answered null"),
        (TesFault.garbage(), "SERVER_ERROR", "not JSON"),
        (TesFault.status(200, "[]"), "SERVER_ERROR", "lacks AccessKeyId"),
        (TesFault.status(200, '{"AccessKeyId": "a"}'), "SERVER_ERROR", "lacks"),
        (
            TesFault.status(200, '{"AccessKeyId": "", "SecretAccessKey": "b", "Token": "c"}'),
            "SERVER_ERROR",
            "lacks",
        ),
        (TesFault.status(500), "SERVER_ERROR", "HTTP 500: no text"),
        (TesFault.status(504, "later"), "SERVER_ERROR", "HTTP 504: later"),
        (TesFault.status(403, "no\n role"), "AUTH_FAILURE", "HTTP 403): no role"),
        (TesFault.status(404), "AUTH_FAILURE", "HTTP 404"),
        (TesFault.closed(), "SERVER_ERROR", "did not answer"),
    ],
)
def test_what_it_answers_instead(server: TesServer, fault: TesFault, code: str, says: str) -> None:
    server.fault = fault
    error = fetch_error(server.uri)
    assert error.code.value == f"CREDENTIAL_ENDPOINT_{code}"
    assert says in error.message
    assert error.retry is (Retry.LIMITED if code == "AUTH_FAILURE" else Retry.UNTIL_MENDED)


def test_an_answer_that_does_not_come_is_not_waited_for_without_end(server: TesServer) -> None:
    server.fault = TesFault.slow(30)
    error = fetch_error(server.uri, timeout_seconds=0.1)
    assert error.retry is Retry.UNTIL_MENDED
    assert "timed out" in error.message


def test_a_long_refusal_is_shortened(server: TesServer) -> None:
    server.fault = TesFault.status(500, "x" * 50_000)
    assert len(fetch_error(server.uri).message) < 400


def test_nobody_listens_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    error = fetch_error(f"http://127.0.0.1:{port}/2016-11-01/credentialprovider/")
    assert (error.code.value, error.retry) == (
        "CREDENTIAL_ENDPOINT_SERVER_ERROR",
        Retry.UNTIL_MENDED,
    )
    assert "refused" in error.message


@pytest.mark.parametrize(
    "uri", ["https://localhost/", "localhost:80", "http://", "file:///etc/passwd"]
)
def test_only_http_is_spoken(uri: str) -> None:
    error = fetch_error(uri)
    assert (error.code.value, error.retry) == ("CREDENTIAL_ENDPOINT_SERVER_ERROR", Retry.NEVER)
    assert uri in error.message
