"""The credential helper where no AWS is asked, and what `install` does to files."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path

import pytest

from dockermgr import credential_helper
from dockermgr.cli import main
from dockermgr.commands import credentials
from dockermgr.credential_helper import PROGRAM

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
NOT_FOUND = "credentials not found in native keychain\n"


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's home, no AWS, and the helper in PATH."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "DOCKER")) or name == "SVCUID":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    put_helper(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(credentials, "LINK", tmp_path / "local" / PROGRAM)


def put_helper(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / PROGRAM).write_text("#!/bin/sh\n")
    (folder / PROGRAM).chmod(0o755)
    return folder / PROGRAM


def ask(monkeypatch: pytest.MonkeyPatch, verb: str, request: str) -> int:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(request.encode())))
    return main(["credentials", verb])


# --- the protocol --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "server",
    [
        "https://index.docker.io/v1/",
        "registry.example.com:5000",
        "",
        f"{ECR}.evil.example",
        f"https://evil.example/{ECR}",
        f"https://robot@{ECR}",
        f"http://{ECR}",
        f"{ECR}:443",
        ECR.replace("k", "\N{KELVIN SIGN}"),
        "public.ecr.aws",  # and no AWS credentials
    ],
)
def test_others_get_no_token_and_docker_goes_on_without(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(monkeypatch, "get", f"{server}\n") == 1
    assert capsys.readouterr() == (NOT_FOUND, "")


def test_a_component_without_the_token_exchange_service_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SVCUID", "any")
    assert ask(monkeypatch, "get", f"https://{ECR}") == 1
    out, err = capsys.readouterr()
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI is not set" in out
    assert "aws.greengrass.TokenExchangeService" in out
    assert out in err  # `docker pull` shows only this


def test_docker_login_and_logout_of_an_ecr_host_end_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = json.dumps({"ServerURL": ECR, "Username": "AWS", "Secret": "a-password"})
    assert ask(monkeypatch, "store", request) == 0
    assert ask(monkeypatch, "erase", ECR) == 0
    assert ask(monkeypatch, "erase", "registry.example.com") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "request_text", ['{"ServerURL": "registry.example.com", "Secret": "pass"', "[]"]
)
def test_who_logs_in_elsewhere_is_not_told_that_it_was_kept(
    request_text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(monkeypatch, "store", request_text) == 1
    assert "pass" not in capsys.readouterr().out


def test_a_login_that_is_not_kept_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = json.dumps({"ServerURL": "registry.example.com", "Username": "u", "Secret": "s3cret"})
    assert ask(monkeypatch, "store", request) == 1
    out, err = capsys.readouterr()
    assert "registry.example.com is not Amazon ECR: set another helper" in out
    assert "s3cret" not in out + err


def test_the_list_is_of_the_hosts_that_were_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["credentials", "list"]) == 0
    assert main(["credentials", "install", f"https://{ECR}/", "Public.ECR.aws"]) == 0
    capsys.readouterr()
    assert main(["credentials", "list"]) == 0
    assert json.loads(capsys.readouterr().out) == {ECR: "AWS", "public.ecr.aws": "AWS"}


def test_the_list_of_a_damaged_configuration_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{")
    assert main(["credentials", "list"]) == 1
    assert f"{tmp_path}/.docker/config.json: it is damaged" in capsys.readouterr().out


def test_pips_command_answers_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [PROGRAM, "list"])
    assert credential_helper.main() == 0
    assert capsys.readouterr().out == "{}\n"


# --- config.json ---------------------------------------------------------------------------------


def test_install_and_uninstall_leave_nothing_behind(tmp_path: Path) -> None:
    config = tmp_path / ".docker/config.json"
    assert main(["credentials", "install", ECR]) == 0
    assert json.loads(config.read_text()) == {"credHelpers": {ECR: "dockermgr"}}
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700

    before = config.stat()
    assert main(["credentials", "install", ECR]) == 0
    assert config.stat() == before

    assert main(["credentials", "uninstall"]) == 0
    assert main(["credentials", "uninstall"]) == 0
    assert list(config.parent.iterdir()) == []


def test_a_configuration_keeps_its_bytes_its_mode_and_its_place(tmp_path: Path) -> None:
    real, folder = tmp_path / "elsewhere.json", tmp_path / ".docker"
    text = b'{\r\n "auths": {"registry.example.com": {"auth": "eA=="}}, "\xc3\xa9": "\\u003c" }'
    real.write_bytes(text)
    real.chmod(0o640)
    folder.mkdir()
    (folder / "config.json").symlink_to("../elsewhere.json")

    assert main(["credentials", "install", ECR]) == 0
    assert (folder / "config.json").readlink() == Path("../elsewhere.json")
    assert json.loads(real.read_text())["credHelpers"] == {ECR: "dockermgr"}
    assert stat.S_IMODE(real.stat().st_mode) == 0o640

    assert main(["credentials", "uninstall", ECR]) == 0
    assert real.read_bytes() == text
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_the_folder_is_dockers_own_or_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "variable"))
    assert main(["credentials", "install", ECR]) == 0
    assert main(["credentials", "install", "--config", str(tmp_path / "option"), ECR]) == 0
    for name in ("variable", "option"):
        assert (tmp_path / name / "config.json").exists()
    assert not (tmp_path / ".docker").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"auths": {', "it is damaged, mend it first"),
        (b"\xff{}", "it is damaged, mend it first"),
        (b'{"credHelpers": {"%b": "ecr-login"}}' % ECR.encode(), 'is "ecr-login"'),
    ],
)
def test_what_is_not_understood_or_anothers_is_left_alone(
    content: bytes, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / ".docker/config.json"
    config.parent.mkdir()
    config.write_bytes(content)
    before = config.stat()

    assert main(["credentials", "install", ECR]) == 2

    assert (config.read_bytes(), config.stat()) == (content, before)
    err = capsys.readouterr().err
    assert err.startswith(f"dockermgr: {config} was not changed: ")
    assert reason in err


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    config = tmp_path / ".docker/config.json"
    config.parent.mkdir()
    os.mkfifo(config)  # as good as /dev/null, where some have it lead
    assert main(["credentials", "install", ECR]) == 2
    assert config.is_fifo()


def test_hosts_that_are_not_ecr_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["credentials", "install", "registry.example.com"]) == 2
    assert "'registry.example.com' is not a host of Amazon ECR" in capsys.readouterr().err


# --- PATH ----------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The manager's work folder, whose helper is not in PATH; returns the helper."""
    (tmp_path / "local").mkdir()
    monkeypatch.setenv("PATH", f"/nonexistent:{tmp_path / 'local'}")
    monkeypatch.setenv("DOCKERMGR_HOME", str(tmp_path / "work"))
    return put_helper(tmp_path / "work" / "bin")


def test_a_helper_that_is_not_in_path_is_put_there(work: Path, tmp_path: Path) -> None:
    (tmp_path / "local" / PROGRAM).symlink_to("/nonexistent/of/an/earlier/component")
    for _ in range(2):
        assert main(["credentials", "install", ECR]) == 0
    assert (tmp_path / "local" / PROGRAM).readlink() == work


@pytest.mark.parametrize("missing", ["room", "in PATH"])
def test_where_it_cannot_be_put_there_it_is_said_how_and_nothing_is_changed(
    missing: str,
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    link = tmp_path / "local" / PROGRAM
    if missing == "room":
        link.write_text("of somebody else")  # refuses root, too, unlike a folder of others
    else:
        monkeypatch.setenv("PATH", "/nonexistent")

    assert main(["credentials", "install", ECR]) == 2

    err = capsys.readouterr().err
    assert f"run `sudo ln -sf {work} {link}`, or have {work.parent} in PATH" in err
    assert "/.docker/config.json was not changed" in err
    assert not (tmp_path / ".docker").exists()


def test_a_helper_that_is_nowhere_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["credentials", "install", ECR]) == 2
    assert "start the component, which writes it" in capsys.readouterr().err
    assert not (tmp_path / ".docker").exists()
