"""The TES test double, with the client that boto3 uses for it and with plain HTTP."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from botocore.credentials import ContainerProvider
from botocore.exceptions import CredentialRetrievalError
from botocore.utils import ContainerMetadataFetcher

from tests.sandbox.nucleus.model import Dialect, new_auth_token
from tests.sandbox.tes import CREDENTIALS_PATH, Credentials, TesFault, TesServer

_TIMEOUT_SECONDS = 30.0
_TOKEN = new_auth_token()


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def tes(request: pytest.FixtureRequest) -> Iterator[TesServer]:
    with TesServer(request.param, {_TOKEN}) as server:
        yield server


@pytest.fixture
def java() -> Iterator[TesServer]:
    with TesServer(Dialect.JAVA, {_TOKEN}) as server:
        yield server


@pytest.fixture
def lite() -> Iterator[TesServer]:
    with TesServer(Dialect.LITE, {_TOKEN}) as server:
        yield server


def _ask(
    tes: TesServer,
    *,
    token: str | None = _TOKEN,
    path: str = CREDENTIALS_PATH,
    method: str = "GET",
    timeout: float = _TIMEOUT_SECONDS,
) -> tuple[int, bytes, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", tes.port, timeout=timeout)
    try:
        connection.request(method, path, headers={"Authorization": token} if token else {})
        response = connection.getresponse()
        return response.status, response.read(), response.getheader("Content-Type")
    finally:
        connection.close()


def _provider(
    tes: TesServer, monkeypatch: pytest.MonkeyPatch, token: str = _TOKEN
) -> ContainerProvider:
    for name, value in tes.environment(token).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", raising=False)
    return ContainerProvider(fetcher=ContainerMetadataFetcher(sleep=lambda _seconds: None))


def test_botocore_gets_the_credentials(tes: TesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = _provider(tes, monkeypatch).load().get_frozen_credentials()

    assert credentials.access_key == tes.credentials.access_key_id
    assert credentials.secret_key == tes.credentials.secret_access_key
    assert credentials.token == tes.credentials.token


def test_botocore_is_refused_with_another_token(
    tes: TesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = _provider(tes, monkeypatch, new_auth_token())

    with pytest.raises(CredentialRetrievalError):
        provider.load()


def test_botocore_stumbles_over_the_null_of_lite(
    lite: TesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = _provider(lite, monkeypatch)
    lite.fault = TesFault.null_body()

    with pytest.raises(TypeError, match="NoneType"):
        provider.load()


def test_the_answer_is_the_documented_json(tes: TesServer) -> None:
    status, body, _ = _ask(tes)

    document = json.loads(body)
    assert status == 200
    assert list(document) == ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"]
    expiration = datetime.strptime(document["Expiration"], "%Y-%m-%dT%H:%M:%S%z")
    assert timedelta(minutes=50) < expiration - datetime.now(timezone.utc) <= timedelta(hours=1)


def test_rotate_gives_new_keys(tes: TesServer) -> None:
    before = json.loads(_ask(tes)[1])

    rotated = tes.rotate()

    after = json.loads(_ask(tes)[1])
    assert after["AccessKeyId"] == rotated.access_key_id != before["AccessKeyId"]


def test_given_credentials_are_served() -> None:
    credentials = Credentials.generate(timedelta(seconds=90))
    with TesServer(Dialect.JAVA, {_TOKEN}, credentials) as tes:
        assert json.loads(_ask(tes)[1])["AccessKeyId"] == credentials.access_key_id


@pytest.mark.parametrize(
    ("token", "path", "method", "status", "body"),
    [
        (new_auth_token(), CREDENTIALS_PATH, "GET", 403, b""),
        (None, CREDENTIALS_PATH, "GET", 403, b""),
        (_TOKEN, CREDENTIALS_PATH + "more", "GET", 400, b""),
        (_TOKEN, CREDENTIALS_PATH, "POST", 405, b""),
        (_TOKEN, "/", "GET", 404, b"<h1>404 Not Found</h1>No context found for request"),
    ],
    ids=["wrong-token", "no-token", "sub-path", "post", "other-path"],
)
def test_errors_of_java(
    java: TesServer, token: str | None, path: str, method: str, status: int, body: bytes
) -> None:
    assert _ask(java, token=token, path=path, method=method)[:2] == (status, body)


@pytest.mark.parametrize(
    ("token", "path", "status", "body"),
    [
        (new_auth_token(), CREDENTIALS_PATH, 404, b"No such svcuid present."),
        ("short", CREDENTIALS_PATH, 400, b"SVCUID length must be exactly 16."),
        (
            None,
            CREDENTIALS_PATH,
            400,
            b"Authorization header is needed to process the request.",
        ),
        (_TOKEN, "/", 400, b"Only /2016-11-01/credentialprovider/ uri is supported."),
    ],
    ids=["wrong-token", "short-token", "no-token", "other-path"],
)
def test_errors_of_lite(
    lite: TesServer, token: str | None, path: str, status: int, body: bytes
) -> None:
    assert _ask(lite, token=token, path=path)[:2] == (status, body)


def test_lite_takes_any_method(lite: TesServer) -> None:
    assert _ask(lite, method="POST")[0] == 200


def test_no_dialect_says_that_it_sends_json(java: TesServer, lite: TesServer) -> None:
    assert _ask(java)[2] is None
    assert _ask(lite)[2] == "text/html; charset=ISO-8859-1"


def test_a_token_that_lite_could_not_have_given_out_is_a_mistake_of_the_test() -> None:
    with pytest.raises(ValueError, match="16 characters"):
        TesServer(Dialect.LITE, {"short"})


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (TesFault.null_body(), 200, b"null"),
        (TesFault.status(500), 500, b""),
        (TesFault.status(503, "Failed to fetch SVCUID. Try again."), 503, b"Failed to fetch"),
        (TesFault.garbage(), 200, b'{"AccessKeyId"'),
    ],
    ids=["null", "500", "503", "garbage"],
)
def test_faults_answer_what_they_say(
    tes: TesServer, fault: TesFault, status: int, body: bytes
) -> None:
    tes.fault = fault

    answered_status, answered_body, _ = _ask(tes)

    assert answered_status == status
    assert answered_body.startswith(body)


def test_garbage_is_no_json(tes: TesServer) -> None:
    tes.fault = TesFault.garbage()

    with pytest.raises(ValueError):  # noqa: PT011 - a JSON or a Unicode error, as the reader likes
        json.loads(_ask(tes)[1])


def test_a_closed_connection_has_no_answer(tes: TesServer) -> None:
    tes.fault = TesFault.closed()

    with pytest.raises(http.client.RemoteDisconnected):
        _ask(tes)
    assert [request.status for request in tes.requests] == [None]


def test_a_slow_answer_outlasts_an_impatient_client_and_not_the_server(tes: TesServer) -> None:
    tes.fault = TesFault.slow(3600)

    with pytest.raises(TimeoutError):
        _ask(tes, timeout=0.2)
    tes.stop()


def test_a_slow_answer_comes_in_the_end(tes: TesServer) -> None:
    tes.fault = TesFault.slow(0.05)

    assert _ask(tes)[0] == 200


def test_a_fault_ends_when_it_is_taken_away(tes: TesServer) -> None:
    tes.fault = TesFault.status(500)
    assert _ask(tes)[0] == 500

    tes.fault = None

    assert _ask(tes)[0] == 200


def test_a_wrong_token_is_refused_whatever_the_fault(tes: TesServer) -> None:
    tes.fault = TesFault.null_body()

    assert _ask(tes, token=new_auth_token())[0] == (403 if tes.dialect is Dialect.JAVA else 404)


def test_requests_are_recorded_without_their_tokens(tes: TesServer) -> None:
    _ask(tes)
    _ask(tes, token=None)

    assert [(request.method, request.path, request.has_token) for request in tes.requests] == [
        ("GET", CREDENTIALS_PATH, True),
        ("GET", CREDENTIALS_PATH, False),
    ]
    assert _TOKEN not in repr(tes.requests)
    assert tes.credentials.secret_access_key not in repr(tes.credentials)


def test_stop_ends_idle_connections_and_leaves_no_thread(tes: TesServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", tes.port, timeout=_TIMEOUT_SECONDS)
    connection.request("GET", CREDENTIALS_PATH, headers={"Authorization": _TOKEN})
    connection.getresponse().read()
    port = tes.port

    tes.stop()

    connection.close()
    assert not [thread for thread in threading.enumerate() if "sandbox-tes" in thread.name]
    refused = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    with pytest.raises(ConnectionRefusedError):
        refused.connect()


def test_it_can_be_started_again(tes: TesServer) -> None:
    with pytest.raises(RuntimeError, match="runs already"):
        tes.start()
    tes.stop()
    tes.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        _ = tes.uri

    tes.start()

    assert _ask(tes)[0] == 200
