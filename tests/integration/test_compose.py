"""`dockermgr compose` with Compose v1 and v2, on a real engine."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from dockermgr.passthrough import FORWARD_ADDRESS
from tests.integration.harness import Harness
from tests.integration.test_load import put_object
from tests.sandbox.device import ECR_HOST
from tests.sandbox.engines import docker_26_path
from tests.sandbox.images import push_image
from tests.sandbox.processes import SYSTEM_PATH, Process, wait_until

pytestmark = pytest.mark.timeout(150)

COMPONENT = "com.example.App"
FILE = """\
services:
  one:
    image: ${REGISTRY}/app/one:1
    command: ["sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"]
    network_mode: none
  two:
    image: tool:1.0
    command: ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"]
    network_mode: none
  debug:
    image: debug:1
    profiles: [debug]
    command: ["true"]
    network_mode: none
"""


class Project:
    """A component's work folder with a Compose file in it."""

    def __init__(self, harness: Harness, folder: Path, path: str) -> None:
        self.harness = harness
        self.folder = folder
        self.file = folder / "app.yaml"
        self.file.write_text(FILE)
        self.environment = {
            **harness.core.environment(COMPONENT),
            "PYTHONPATH": harness.environment()["PYTHONPATH"],
            "DOCKERMGR_HOME": str(harness.home),
            "HOME": str(folder),
            "PATH": path,
            "REGISTRY": ECR_HOST,
        }

    def process(self, *arguments: str) -> Process:
        """A command that is not started yet."""
        return Process(
            "dockermgr compose",
            [sys.executable, "-m", "dockermgr", "compose", *arguments],
            log=self.harness.core.root / "compose.log",
            environment=self.environment,
            folder=self.folder,
        )

    def containers(self, *, all_of_them: bool = False) -> list[str]:
        """The names of those that run, or of all."""
        with self.harness.device.engine.client() as client:
            return sorted(str(c.name) for c in client.containers.list(all=all_of_them))


@pytest.fixture(params=["v1", "v2"])
def project(request: pytest.FixtureRequest, harness: Harness, tmp_path: Path) -> Project:
    """A component's project, with the machine's Compose v1, or with v2 as docker's plugin."""
    folder = harness.core.add_component(COMPONENT)
    if request.param == "v2":
        plugins = folder / ".docker" / "cli-plugins"
        plugins.mkdir(parents=True)
        found = (Path(part, "docker-compose").resolve() for part in docker_26_path().split(":"))
        (plugins / "docker-compose").symlink_to(next(path for path in found if path.exists()))
    for name in ("tool", "debug"):
        push_image(harness.device.public, f"library/{name}", "1.0" if name == "tool" else "1")
    push_image(harness.device.ecr, "app/one", "1")
    return Project(harness, folder, SYSTEM_PATH)


def test_up_and_down(project: Project) -> None:
    process = project.process("-f", "app.yaml", "up")
    process.start()
    wait_until(lambda: len(project.containers()) == 2, "two containers", 60)
    process.wait_ready(lambda: process.log_text().count("up") >= 2)
    seen = json.loads(project.harness.run("status", "--json").out)["components"][COMPONENT]
    assert len(seen["containers"]) == 2
    assert {container["state"] for container in seen["containers"]} == {"running"}
    assert {image["state"] for image in seen["images"]} == {"READY"}
    process.signal(signal.SIGTERM)

    assert process.wait_ended(30)
    assert process.exit_code == 143, process.log_text()
    assert project.containers(all_of_them=True) == []
    assert "bye" in process.log_text()


def test_images_are_pulled_by_us_for_what_is_to_run_and_compose_pulls_none(
    project: Project,
) -> None:
    done = project.process("-f", "app.yaml", "pull")
    done.start()
    assert done.wait_ended(60)
    assert done.exit_code == 0, done.log_text()

    assert project.harness.device.engine.tags() == {f"{ECR_HOST}/app/one:1", "tool:1.0"}
    registries = (project.harness.device.ecr, project.harness.device.public)
    for registry in registries:
        registry.forget_requests()

    up = project.process("-f", "app.yaml", "up")
    up.start()
    wait_until(lambda: len(project.containers()) == 2, "two containers", 60)
    up.signal(signal.SIGINT)
    assert up.wait_ended(30)
    assert up.exit_code == 130, up.log_text()
    assert [r for registry in registries for r in registry.requests() if r.is_manifest] == []


def test_what_is_passed_reaches_the_services_that_are_named(project: Project) -> None:
    socket = project.environment["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"]
    up = project.process("-f", "app.yaml", "--pass", "one=ipc,work", "up")
    up.start()
    wait_until(lambda: len(project.containers()) == 2, "two containers", 60)
    with project.harness.device.engine.client() as client:
        described = {
            c.labels["com.docker.compose.service"]: c.attrs for c in client.containers.list()
        }
    up.signal(signal.SIGTERM)
    assert up.wait_ended(30)

    def environment(service: str) -> list[str]:
        return [text.partition("=")[0] for text in described[service]["Config"]["Env"]]

    assert "SVCUID" in environment("one")
    assert "SVCUID" not in environment("two")
    assert {mount["Source"] for mount in described["one"]["Mounts"]} == {
        socket,
        str(project.folder),
    }
    assert described["two"]["Mounts"] == []
    kept = [p.read_text() for p in project.folder.rglob("*") if p.is_file() and not p.is_symlink()]
    assert not any(project.environment["SVCUID"] in text for text in kept)


def test_a_new_version_replaces_what_the_last_one_left(project: Project, tmp_path: Path) -> None:
    first = project.process("-f", "app.yaml", "up")
    first.start()
    wait_until(lambda: len(project.containers()) == 2, "two containers", 60)
    first.kill()
    newer = tmp_path / "2.0.0"
    newer.mkdir()
    (newer / "app.yaml").write_text(FILE.replace("  two:", "  three:"))

    second = project.process("-f", str(newer / "app.yaml"), "up")
    second.start()
    wait_until(lambda: any("three" in name for name in project.containers()), "the new service", 60)
    names = project.containers(all_of_them=True)
    second.signal(signal.SIGTERM)
    assert second.wait_ended(30)

    assert not any("two" in name for name in names)


def test_containers_of_a_killed_compose_are_ended_by_the_service(project: Project) -> None:
    up = project.process("-f", "app.yaml", "up")
    up.start()
    wait_until(lambda: len(project.containers()) == 2, "two containers", 60)

    with project.harness.service({}):
        up.kill()
        wait_until(lambda: project.containers() == [], "the end of the containers", 60)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("services:\n  one:\n    image: x\n   two: [\n", "app.yaml: line 4, column 4: "),
        ("services:\n  one:\n    imagee: x\n", "app.yaml: line 3: "),
        ("services:\n  one:\n    image: ${MISSING:?say which}\n", "say which"),
        ("- one\n", "app.yaml: line 1: this is no Compose file"),
        ("services: {one: {image: 'UPPER:1'}}\n", "upper case"),
    ],
)
def test_a_broken_file_is_an_error_with_line_and_reason(
    project: Project, text: str, complaint: str
) -> None:
    project.file.write_text(text)

    up = project.process("-f", "app.yaml", "up")
    up.start()

    assert up.wait_ended(60)
    assert up.exit_code == 2
    assert complaint in up.log_text()
    assert "Traceback" not in up.log_text()


def test_a_service_that_ends_gives_its_code_and_nothing_is_left(project: Project) -> None:
    project.file.write_text(
        "services: {one: {image: 'tool:1.0', network_mode: none, command: [sh, -c, 'exit 7']}}\n"
    )

    up = project.process("-f", "app.yaml", "up", "--exit-code-from", "one")
    up.start()

    assert up.wait_ended(60)
    assert up.exit_code == 7, up.log_text()
    assert project.containers(all_of_them=True) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-f", "absent.yaml", "up"], "absent.yaml cannot be read"),
        (["up"], "there is no Compose file in"),
        (["-f", "app.yaml", "--pass", "absent=ipc", "up"], "the services are one, two"),
        (["-f", "app.yaml", "--pass", "one=magic", "up"], "'magic': write one or more of"),
    ],
)
def test_wrong_words_are_named(project: Project, arguments: list[str], complaint: str) -> None:
    done = project.process(*arguments)
    done.start()

    assert done.wait_ended(60)
    assert done.exit_code == 2
    assert complaint in done.log_text()


def test_a_file_comes_from_s3(project: Project) -> None:
    place = put_object(project.harness, FILE.encode(), "app/compose.yaml")
    project.file.unlink()

    up = project.process("-f", place, "up")
    up.start()
    wait_until(lambda: len(project.containers()) == 2, "two containers", 60)
    up.signal(signal.SIGTERM)

    assert up.wait_ended(30)
    assert up.exit_code == 143, up.log_text()


def test_a_file_that_is_not_in_s3_is_named(project: Project) -> None:
    place = put_object(project.harness, b"x", "other")

    done = project.process("-f", place.replace("other", "absent"), "up")
    done.start()

    assert done.wait_ended(60)
    assert done.exit_code == 2
    assert "S3_RESOURCE_NOT_FOUND" in done.log_text()


@pytest.mark.parametrize(
    ("feature", "address"), [("tes", "localhost"), ("tes=forward", FORWARD_ADDRESS)]
)
def test_a_service_gets_the_devices_credentials(
    project: Project, feature: str, address: str
) -> None:
    get = (
        "wget -q -O - --header 'Authorization: '$$AWS_CONTAINER_AUTHORIZATION_TOKEN"
        " $$AWS_CONTAINER_CREDENTIALS_FULL_URI | grep -q AccessKeyId"
        " && echo got from $$AWS_CONTAINER_CREDENTIALS_FULL_URI"
    )
    service = {"image": "tool:1.0", "command": ["sh", "-c", get]}
    project.file.write_text(json.dumps({"services": {"one": service}}))

    up = project.process("-f", "app.yaml", "--pass", f"one={feature}", "up")
    up.start()

    assert up.wait_ended(90)
    assert f"got from http://{address}:" in up.log_text(), up.log_text()
    assert len(project.harness.core.tes.requests) == 1


@pytest.mark.parametrize("init", ["", "init: false, "], ids=["as-usual", "without-init"])
def test_services_that_ignore_sigterm_are_gone_before_the_nucleus_loses_patience(
    project: Project, init: str
) -> None:
    command = "[sh, -c, 'echo up; while :; do sleep 0.1; done']"  # process 1 heeds no SIGTERM
    one = f"{{image: 'tool:1.0', {init}network_mode: none, command: {command}}}"
    two = one.replace("{image", "{depends_on: [one], image")
    project.file.write_text(f"services:\n  one: {one}\n  two: {two}\n")

    up = project.process("-f", "app.yaml", "up")
    up.start()
    up.wait_ready(lambda: up.log_text().count(" up") >= 2)
    up.stop(grace_seconds=15.0)

    assert up.exit_code == 143, up.log_text()
    assert project.containers(all_of_them=True) == []
