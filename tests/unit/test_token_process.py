"""The child process that fetches a token: what it says, and what when it says nothing."""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path

import pytest

from dockermgr import token_process
from dockermgr.ecr import EcrToken
from dockermgr.errors import DockermgrError, ErrorCode, Retry, Stopped
from dockermgr.token_process import TokenProcess, _parse

TOKEN = {"username": "AWS", "password": "secret", "expiresAt": 1.5}
ERROR = {"code": "THROTTLING_ERROR", "message": "slow", "hint": "wait", "retry": "limited"}


def test_a_token_is_read() -> None:
    assert _parse(json.dumps(TOKEN).encode(), b"") == EcrToken("AWS", "secret", 1.5)
    assert "secret" not in repr(_parse(json.dumps(TOKEN).encode(), b""))


@pytest.mark.parametrize("retry", list(Retry))
def test_the_childs_error_is_raised_as_it_was(retry: Retry) -> None:
    with pytest.raises(DockermgrError) as caught:
        _parse(json.dumps({"error": {**ERROR, "retry": retry.value}}).encode(), b"noise")
    error = caught.value
    assert (error.code, error.message) == (ErrorCode.THROTTLING_ERROR, "slow")
    assert (error.hint, error.retry) == ("wait", retry)


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"error": "text"}',
        b'{"error": {"code": "THROTTLING_ERROR"}}',
        json.dumps({"error": {**ERROR, "code": "NEWER_THAN_US"}}).encode(),
        json.dumps({"error": {**ERROR, "retry": "maybe"}}).encode(),
        json.dumps({**TOKEN, "expiresAt": "soon"}).encode(),
        json.dumps({**TOKEN, "expiresAt": None}).encode(),
        b'{"username": "AWS", "expiresAt": 1}',
    ],
)
def test_anything_else_is_a_failure_worth_another_attempt(output: bytes) -> None:
    with pytest.raises(DockermgrError) as caught:
        _parse(output, b"Traceback:\n  line\nMemoryError: \xff\n")
    error = caught.value
    assert (error.code, error.retry) == (ErrorCode.GET_ECR_CREDENTIAL_ERROR, Retry.LIMITED)
    assert error.message.startswith("fetching the ECR token broke: MemoryError: ")


def test_no_reason_is_said_to_be_none() -> None:
    with pytest.raises(DockermgrError, match="no reason given"):
        _parse(b"", b"")


def outside_greengrass(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SVCUID", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)


def test_a_real_child_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    outside_greengrass(monkeypatch)
    monkeypatch.setenv("SVCUID", "in a component without a token exchange service")
    with pytest.raises(DockermgrError) as caught:
        TokenProcess().fetch("us-east-1", fips=False)
    assert caught.value.code is ErrorCode.CREDENTIAL_ENDPOINT_AUTH_FAILURE
    assert "aws.greengrass.TokenExchangeService" in caught.value.hint


def test_an_endpoint_that_was_away_is_looked_for_without_boto3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside_greengrass(monkeypatch)
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        process = TokenProcess()
        with pytest.raises(DockermgrError) as first:
            process.fetch("us-east-1", fips=False)
        (tmp_path / "boto3.py").write_text("raise SystemError('boto3 was started')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(DockermgrError) as second:
            process.fetch("us-east-1", fips=False)
        with pytest.raises(DockermgrError, match="boto3 was started"):
            process.fetch("eu-west-1", fips=False)
        monkeypatch.setenv("HTTPS_PROXY", endpoint)  # then another way leads there
        with pytest.raises(DockermgrError, match="boto3 was started"):
            process.fetch("us-east-1", fips=False)
    assert str(first.value) == str(second.value)
    assert f"ECR in us-east-1 cannot be reached: no connection to {endpoint}" in str(first.value)
    assert (first.value.code, first.value.retry) == (ErrorCode.NETWORK_ERROR, Retry.UNTIL_MENDED)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of Python: `fetch` starts it as the child."""
    path = tmp_path / "child"
    monkeypatch.setattr(sys, "executable", str(path))
    return path


def write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_the_child_is_asked_for_the_region(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(child, 'echo "{\\"username\\": \\"$*\\", \\"password\\": \\"p\\", \\"expiresAt\\": 1}"')
    process = TokenProcess()
    assert process.fetch("us-east-1", fips=False).username == "-m dockermgr.ecr us-east-1"
    assert process.fetch("eu-west-1", fips=True).username == "-m dockermgr.ecr eu-west-1 --fips"


def test_the_child_finds_the_package(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        child,
        'echo "{\\"username\\": \\"$PYTHONPATH\\", \\"password\\": \\"\\", \\"expiresAt\\": 1}"',
    )
    package = str(Path(token_process.__file__).parent.parent)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert TokenProcess().fetch("us-east-1", fips=False).username == package
    monkeypatch.setenv("PYTHONPATH", "/more")
    assert TokenProcess().fetch("us-east-1", fips=False).username == f"{package}:/more"


def test_a_child_that_dies_tells_its_last_words(child: Path) -> None:
    write(child, "echo 'Killed: out of memory' >&2; exit 1")
    with pytest.raises(DockermgrError, match="broke: Killed: out of memory"):
        TokenProcess().fetch("us-east-1", fips=False)


def test_a_child_that_hangs_is_ended(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_process, "TIMEOUT_SECONDS", 0.1)
    write(child, "exec sleep 60")
    with pytest.raises(DockermgrError, match=r"no ECR token within 0\.1 s") as caught:
        TokenProcess().fetch("us-east-1", fips=False)
    assert caught.value.retry is Retry.LIMITED


def test_stopping_ends_the_children_and_whatever_comes_later(child: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    write(child, f"touch {started}; exec sleep 60")
    process, ended = TokenProcess(), []

    def fetch() -> None:
        with pytest.raises(Stopped):
            process.fetch("us-east-1", fips=False)
        ended.append(True)

    threads = [threading.Thread(target=fetch, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    pause = threading.Event()
    while not started.exists():
        pause.wait(0.01)
    process.stop()
    for thread in threads:
        thread.join(30)
    assert len(ended) == 3
    with pytest.raises(Stopped):
        process.fetch("us-east-1", fips=False)


def test_a_child_that_cannot_be_started_is_worth_another_attempt(child: Path) -> None:
    assert not child.exists()
    with pytest.raises(DockermgrError) as caught:
        TokenProcess().fetch("us-east-1", fips=False)
    assert caught.value.retry is Retry.LIMITED
