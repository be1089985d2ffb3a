"""The credential helper, asked by the real docker client and by Compose."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.harness import Finished, Harness
from tests.sandbox.aws import ECR_PASSWORD
from tests.sandbox.device import ECR_HOST, ECR_PUBLIC_HOST
from tests.sandbox.engines import docker_26_path
from tests.sandbox.images import push_image
from tests.sandbox.processes import SYSTEM_PATH
from tests.sandbox.tes import TesFault

pytestmark = pytest.mark.timeout(120)

IMAGE = f"{ECR_HOST}/app/one:1"
CLIENTS = {
    "docker": ["docker", "pull", IMAGE],
    "docker-compose": ["docker-compose", "pull"],
    "docker compose": ["docker", "compose", "pull"],
}


@dataclass(frozen=True, slots=True)
class Shell:
    """A component's script on the device: its environment, its folder, and the commands in PATH."""

    harness: Harness
    home: Path
    path: str

    @property
    def config(self) -> Path:
        """docker's configuration of the user."""
        return self.home / ".docker" / "config.json"

    def run(self, *command: str, given: str = "", **environment: str) -> Finished:
        """Runs a command to its end, in the user's home."""
        done = subprocess.run(
            command,
            env=self.harness.environment(PATH=self.path, HOME=str(self.home), **environment),
            cwd=self.home,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def manage(self, *arguments: str, **environment: str) -> Finished:
        """Runs `dockermgr credentials`."""
        return self.run(sys.executable, "-m", "dockermgr", "credentials", *arguments, **environment)

    def install(self, *hosts: str) -> None:
        """Runs `dockermgr credentials install`."""
        done = self.manage("install", *hosts)
        assert done.code == 0, done.err


@pytest.fixture
def shell(harness: Harness, tmp_path: Path) -> Shell:
    """A shell in which the helper, Compose and its plugin are found, and nothing is installed."""
    commands, home = tmp_path / "bin", tmp_path / "home"
    commands.mkdir()
    helper = commands / "docker-credential-dockermgr"
    helper.write_text(f'#!/bin/sh\nexec {sys.executable} -m dockermgr credentials "$@"\n')
    helper.chmod(0o755)
    compose = next(
        program
        for folder in docker_26_path().split(":")
        if (program := Path(folder, "docker-compose").resolve()).exists()
    )
    (commands / "docker-compose").symlink_to(compose)
    plugins = home / ".docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(compose)
    (home / "docker-compose.yml").write_text(f"services: {{one: {{image: '{IMAGE}'}}}}\n")
    return Shell(harness, home, f"{commands}:{SYSTEM_PATH}")


def secrets_below(folder: Path) -> list[Path]:
    """Files with the password in them, plain or as docker writes it."""
    forms = [ECR_PASSWORD.encode(), base64.b64encode(f"AWS:{ECR_PASSWORD}".encode())]
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return [file for file in files if any(form in file.read_bytes() for form in forms)]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("hosts", [[ECR_HOST], []], ids=["host", "all"])
def test_a_private_image_is_pulled_with_no_password_on_disk(
    shell: Shell, client: str, hosts: Sequence[str]
) -> None:
    push_image(shell.harness.device.ecr, "app/one", "1")
    assert shell.run(*CLIENTS[client]).code != 0
    shell.install(*hosts)

    done = shell.run(*CLIENTS[client])

    assert done.code == 0, done.out + done.err
    assert shell.harness.device.engine.tags() == {IMAGE}
    calls = shell.harness.device.aws.calls("GetAuthorizationToken")
    assert {call.access_key for call in calls} == {shell.harness.core.tes.credentials.access_key_id}
    assert not secrets_below(shell.home)
    assert ECR_PASSWORD not in done.out + done.err


@pytest.mark.parametrize("hosts", [[ECR_HOST], []], ids=["host", "all"])
def test_login_and_logout_change_nothing_about_it(shell: Shell, hosts: Sequence[str]) -> None:
    push_image(shell.harness.device.ecr, "app/one", "1")
    shell.install(*hosts)

    typed = shell.run(
        "docker", "login", "-u", "AWS", "--password-stdin", ECR_HOST, given=ECR_PASSWORD
    )
    assert typed.code == 0, typed.err
    assert not secrets_below(shell.home)
    assert shell.run("docker", "login", ECR_HOST).code == 0
    assert shell.run("docker", "logout", ECR_HOST).code == 0

    assert shell.run("docker", "pull", IMAGE).code == 0
    assert not secrets_below(shell.home)


def test_a_login_elsewhere_is_as_before_unless_all_was_installed(shell: Shell) -> None:
    other = shell.harness.device.start_other_registry()
    (host,), known = other.names, other.credentials
    assert known is not None
    login = ("docker", "login", "-u", known.user, "--password-stdin", host)
    push_image(other, "app/one", "1")
    shell.install()
    refused = shell.run(*login, given=known.password)
    assert refused.code != 0
    assert f"{host} is not Amazon ECR" in refused.err
    assert shell.manage("uninstall").code == 0

    shell.install(ECR_HOST)
    assert shell.run(*login, given=known.password).code == 0
    assert shell.run("docker", "pull", f"{host}/app/one:1").code == 0


def test_ecr_public_is_signed_in_to(shell: Shell) -> None:
    push_image(shell.harness.device.public, "tool", "1")
    shell.install(ECR_PUBLIC_HOST)

    assert shell.run("docker", "pull", f"{ECR_PUBLIC_HOST}/tool:1").code == 0

    (call,) = shell.harness.device.aws.calls("GetAuthorizationToken")
    assert (call.service, call.region) == ("ecr-public", "us-east-1")


def test_ecr_public_works_without_a_token_too(shell: Shell) -> None:
    push_image(shell.harness.device.public, "tool", "1")
    shell.harness.device.aws.fail("GetAuthorizationToken", 400, "AccessDeniedException")
    shell.install(ECR_PUBLIC_HOST)

    done = shell.run("docker", "pull", f"{ECR_PUBLIC_HOST}/tool:1")

    assert done.code == 0
    assert "going on without a token: GET_ECR_CREDENTIAL_ERROR" in done.err


def test_other_registries_are_pulled_from_without_credentials(shell: Shell) -> None:
    push_image(shell.harness.device.public, "library/tool", "1")
    shell.install()

    done = shell.run("docker", "pull", "tool:1")

    assert done.code == 0, done.err
    assert "credential" not in done.err
    assert not shell.harness.device.aws.calls()


@pytest.mark.parametrize("client", CLIENTS)
def test_aws_that_is_away_is_named(shell: Shell, client: str) -> None:
    shell.harness.device.aws.fail("GetAuthorizationToken", 400, "AccessDeniedException", times=9)
    shell.install(ECR_HOST)

    done = shell.run(*CLIENTS[client])

    assert done.code != 0
    assert "AccessDeniedException" in done.err
    assert "allow ecr:GetAuthorizationToken" in done.err


def test_tes_that_is_away_is_named(shell: Shell) -> None:
    shell.harness.core.tes.fault = TesFault.null_body()

    done = shell.run("docker-credential-dockermgr", "get", given=ECR_HOST)

    assert done.code == 1
    assert done.out.startswith("CREDENTIAL_ENDPOINT_SERVER_ERROR: the nucleus could not get")


def test_outside_a_component_it_is_said_what_is_missing(shell: Shell) -> None:
    shell.install(ECR_HOST)
    names = ("SVCUID", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN")

    done = shell.run("env", *(f"--unset={name}" for name in names), "docker", "pull", IMAGE)

    assert done.code != 0
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI is not set" in done.err


def test_the_answer_is_what_the_protocol_says(shell: Shell) -> None:
    done = shell.run("docker-credential-dockermgr", "get", given=f"https://{ECR_HOST}\n")

    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {
        "ServerURL": f"https://{ECR_HOST}",
        "Username": "AWS",
        "Secret": ECR_PASSWORD,
    }


def test_uninstalled_after_a_login_the_rest_is_as_it_was(shell: Shell) -> None:
    other = shell.harness.device.start_other_registry()
    (host,), known = other.names, other.credentials
    assert known is not None
    login = ("docker", "login", "-u", known.user, "--password-stdin", host)
    assert shell.run(*login, given=known.password).code == 0
    before = shell.config.read_bytes()

    shell.install(ECR_HOST, ECR_PUBLIC_HOST)
    assert shell.run(*login, given=known.password).code == 0  # writes the file anew
    assert shell.manage("uninstall").code == 0

    assert shell.config.read_bytes() == before


def test_root_leaves_another_users_configuration_to_that_user(shell: Shell) -> None:
    user, group = 65534, 65533
    os.chown(shell.home, user, group)
    folder = shell.home / "new"
    for content in (None, "{}"):
        if content is not None:
            (folder / "config.json").write_text(content)
            os.chown(folder / "config.json", user, 0)
        done = shell.manage("install", "--config", str(folder), ECR_HOST)
        assert done.code == 0, done.err
        found = (folder / "config.json").stat()
        assert (found.st_uid, found.st_gid) == (user, group if content is None else 0)
    assert (folder.stat().st_uid, folder.stat().st_gid) == (user, group)


def test_a_user_who_may_not_keep_the_owner_changes_nothing(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    config = folder / "config.json"
    config.write_text("{}")  # root's

    tmp_path.chmod(0o755)
    done = shell.run(
        *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
        *(sys.executable, "-m", "dockermgr", "credentials", "install"),
        *("--config", str(folder), ECR_HOST),
    )

    assert done.code == 2
    assert f"{config} was not changed: " in done.err
    assert (config.read_text(), config.owner()) == ("{}", "root")
    assert list(folder.iterdir()) == [config]
