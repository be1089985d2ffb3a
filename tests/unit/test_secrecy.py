"""The sandbox's secrets are found in every form, and pytest's plugin fails who shows one."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.secrets import LEAST_LENGTH, Secrets

PROJECT = Path(__file__).resolve().parents[2]

some_text = st.text(st.characters(codec="utf-8"), max_size=30)
some_secret = st.text(st.characters(codec="utf-8"), min_size=LEAST_LENGTH, max_size=60)


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


@given(some_secret, some_text, some_text)
def test_a_secret_is_found_in_whatever_way_it_is_written(
    secret: str, before: str, after: str
) -> None:
    secrets = Secrets()
    secrets.add("it", secret)
    text = f"{before}{secret}{after}"
    login = {"username": before, "password": secret, "serveraddress": after}
    for written in (
        text.encode(),
        json.dumps({"message": text}).encode(),
        urllib.parse.quote(text, safe="").encode(),
        base64.b64encode(text.encode()),
        base64.urlsafe_b64encode(text.encode()),
        base64.urlsafe_b64encode(json.dumps(login).encode()),
        urllib.parse.quote(base64.b64encode(text.encode()), safe="").encode(),
    ):
        assert secrets.names_in(written) == ["it"]


def test_findings_name_secret_and_place_and_are_told_once(secrets: Secrets) -> None:
    secrets.add("the password", "a-good-password")
    secrets.look("the log", "no word of it")
    for _ in range(2):
        secrets.look("the log", "it is a-good-password")
    assert secrets.end_test() == ["the password in the log"]
    assert secrets.end_test() == []


def test_only_lasting_secrets_are_known_in_the_next_test(secrets: Secrets) -> None:
    secrets.add("one", "of-this-test")
    secrets.add("other", "of-all-tests", lasting=True)
    secrets.add("the same by another name", "of-all-tests")
    secrets.end_test()
    assert secrets.names_in(b"of-this-test of-all-tests") == ["other"]


def test_what_chance_could_write_is_no_secret(secrets: Secrets) -> None:
    with pytest.raises(ValueError, match="the password has less than 8 characters"):
        secrets.add("the password", "another")


def test_tokens_and_documents_are_taken_apart(secrets: Secrets) -> None:
    token = base64.b64encode(b"AWS:the-password-in-it").decode()
    secrets.add_ecr_tokens(
        json.dumps({"authorizationData": [{"authorizationToken": token}]}).encode()
    )
    secrets.add_document("the document", b'{"username": "robot", "password": "robots-password"}')
    assert secrets.names_in(b"the-password-in-it") == ["the password of an ECR token"]
    assert "an ECR authorization token" in secrets.names_in(token.encode())
    assert secrets.names_in(b"robots-password") == ["the password in the document"]


def test_files_are_looked_at_with_their_names_but_not_the_artifact(
    secrets: Secrets, tmp_path: Path
) -> None:
    secrets.add("it", "a-good-password")
    for name in ("work/runtime/a.py", "work/state.sqlite3-wal", "work/locks/a-good-password"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\xffa-good-password\0")
    secrets.look_at_files(tmp_path)
    assert sorted(secrets.end_test()) == [
        "it in a file",
        "it in the name of a file",
        "it in work/state.sqlite3-wal",
    ]


LEAKS = """
import logging, sys
import pytest
from dockermgr import tes
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.redact import remember_secret
from tests.sandbox.secrets import SECRETS

@pytest.fixture(autouse=True)
def secret():
    SECRETS.add("it", "plan" + "ted-secret")
    yield "plan" + "ted-secret"

def test_log(secret):
    logging.getLogger("dockermgr.some").debug("token=%s", secret)

def test_error(secret):
    with pytest.raises(DockermgrError):
        raise DockermgrError(ErrorCode.NETWORK_ERROR, "away", hint=f"try {secret}")

def test_output(secret):
    print(secret)

def test_traceback(secret):
    tes.fetch_credentials(f"http://localhost:{secret}/", "")

def test_masked(secret):
    remember_secret(secret)
    logging.getLogger("dockermgr.some").info("token=%s", secret)
"""


def test_the_plugin_fails_who_shows_one(tmp_path: Path) -> None:
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    options = ["-p", "tests.secrecy", "-p", "no:cacheprovider", "--show-capture=no", "-q"]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", PROJECT / "pyproject.toml", tmp_path],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    found = done.stdout
    assert "1 failed, 4 passed, 4 errors" in found
    assert "it in the log within pytest's process" in found
    assert "it in an error of the product's" in found
    assert "it in Captured stdout call" in found
    assert "it in a traceback" in found
    assert "ERROR at teardown of test_masked" not in found
