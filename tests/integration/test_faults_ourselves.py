"""Our own state, clock, configuration, end and secrets: what can go wrong on the device itself."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dockermgr.handover import FILE_NAME as HANDED_OVER
from dockermgr.state import FILE_NAME, State
from tests.integration.harness import IMAGE_TOPIC, MANAGER, Harness
from tests.sandbox import box
from tests.sandbox.device import ECR_HOST
from tests.sandbox.images import large_image, push_image
from tests.sandbox.ipc import Call, PublishedMessage, StateReport
from tests.sandbox.processes import Process, child_of, wait_until
from tests.sandbox.registry import Credentials
from tests.sandbox.secrets import SECRETS
from tests.sandbox.tes import TesFault

pytestmark = pytest.mark.timeout(180)

IMAGE = "docker:tool:1.0"
PRIVATE = f"docker:{ECR_HOST}/app/one:1"
NOWHERE = "docker:registy.example.com/app:1"
QUICK = {"retry": {"initialSeconds": 0.1, "maxSeconds": 0.5}}


def running(harness: Harness, count: int = 1) -> None:
    harness.ipc.wait_for(StateReport, lambda report: report.state == "RUNNING", count=count)


def image_message(
    harness: Harness, image: str, fits: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """The first message of an image for which `fits` holds."""

    def both(message: PublishedMessage) -> bool:
        content = message.json() if message.topic == IMAGE_TOPIC else {}
        return content.get("image") == image and fits(content)

    return harness.ipc.wait_for(PublishedMessage, both).json()


def cpu_seconds(process: Process) -> float:
    """User and system time of the process and of its children that have ended."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def processes_of(harness: Harness) -> dict[int, str]:
    """Every process that has the manager's home in its environment, with its command line."""
    wanted = f"DOCKERMGR_HOME={harness.home}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
    return found


# The state file


def _truncate(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 + 7])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _garbage(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(20_000))


def _damaged_inside(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[200:] = random.Random(2).randbytes(len(content) - 200)
    file.write_bytes(bytes(content))


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("harm", [_truncate, _empty, _garbage, _damaged_inside, _folder])
def test_a_harmed_state_file_costs_no_image_and_no_start(
    harness: Harness, harm: Callable[[Path], None]
) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    push_image(harness.device.public, "library/other", "1.0")
    assert harness.run("pull", IMAGE).code == 0
    harm(harness.home / FILE_NAME)

    with harness.service({"images": [IMAGE, "docker:other:1.0"]}) as process:
        running(harness)
        for image in (IMAGE, "docker:other:1.0"):
            assert harness.wait_for_image(image, "READY")["error"] is None
        log = process.log_text()

    assert "Traceback" not in log
    if harm not in (_empty, _folder):
        assert "the state file is damaged" in log
    if harm is not _folder:  # which is left for a person to judge
        state = State(harness.home)
        assert "docker.io/library/other:1.0" in [i.reference for i in state.pulled_images()]
        state.close()


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        SECRETS.look_at_files(folder)
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("trouble", ["read-only", "full", "absent"])
def test_a_home_that_takes_no_state_costs_no_image(harness: Harness, trouble: str) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    options = "ro" if trouble == "read-only" else "size=8k"
    home = "/proc/nowhere" if trouble == "absent" else str(harness.home)

    with _mounted(harness.home, options):
        if trouble == "full":
            with contextlib.suppress(OSError):
                (harness.home / "filler").write_bytes(bytes(100_000))
        with harness.service({"images": [IMAGE]}, DOCKERMGR_HOME=home) as process:
            running(harness)
            harness.wait_for_image(IMAGE, "READY")
            process.wait_ready(lambda: "the state file is of no use now" in process.log_text())
            log = process.log_text()

    assert "Traceback" not in log
    assert log.count("the state file is of no use now") < 6


# Clock


_JUMPY = """
import pathlib, sys, time
_real, _offset = time.time, pathlib.Path(sys.argv[1])
time.time = lambda: _real() + float(_offset.read_text() or 0)
del sys.argv[1]
from dockermgr.cli import main
sys.exit(main())
"""


def test_a_clock_that_jumps_costs_no_retry_and_no_token(harness: Harness, tmp_path: Path) -> None:
    """The process's own wall clock only: engine, TLS and nucleus keep the machine's."""
    offset = tmp_path / "offset"
    offset.write_text(str(-50 * 365 * 86400))  # a board without a clock, in 1976
    push_image(harness.device.ecr, "app/one", "1")
    for number in range(3):
        push_image(harness.device.ecr, f"app/n{number}", "1")
    harness.device.ecr.stop()
    harness.ipc.update_configuration(MANAGER, {"images": [PRIVATE], **QUICK})
    process = harness.process("serve")
    process.arguments = [sys.executable, "-c", _JUMPY, str(offset), "serve"]
    process.start()
    try:
        first = harness.wait_for_image(PRIVATE, "RETRYING")
        offset.write_text("0")  # the network is there, and with it the time
        harness.device.ecr.start()
        harness.wait_for_image(PRIVATE, "READY")
        running(harness)
        for number, jump in enumerate((-86400, 86400, 20 * 365 * 86400)):
            offset.write_text(str(jump))
            image = f"docker:{ECR_HOST}/app/n{number}:1"
            harness.ipc.update_configuration(MANAGER, {"images": [PRIVATE, image]})
            harness.wait_for_image(image, "READY")
    finally:
        process.stop()

    assert first["timestamp"] < "1990"
    assert first["retryAt"] > first["timestamp"]
    assert len(harness.device.aws.calls("GetAuthorizationToken")) == 1


# Configuration


def test_a_thousand_changes_while_pulling_end_with_the_last_one(harness: Harness) -> None:
    push_image(harness.device.public, "library/large", "1", layers=large_image())
    push_image(harness.device.public, "library/tool", "1.0")
    last = {"images": ["docker:large:1", IMAGE]}

    with harness.service({"images": ["docker:large:1"]}) as process:
        harness.wait_for_image("docker:large:1", "PULLING")
        for number in range(1000):
            images = ["docker:large:1", f"docker:tool:{number}"]
            harness.ipc.update_configuration(MANAGER, {"images": images})
        harness.ipc.update_configuration(MANAGER, last)
        harness.wait_for_image(IMAGE, "READY")
        harness.wait_for_image("docker:large:1", "READY")
        running(harness)
        log = process.log_text()

    assert log.count("configuration applied") < 100
    assert log.count("pulling image=docker:large:1") == 1
    manifests = [r for r in harness.device.public.requests() if r.is_manifest]
    assert sum("library/large" in request.path for request in manifests) == 1


# The end


def _before_ipc(harness: Harness) -> Callable[[Process], None]:
    harness.ipc.stop()
    return lambda process: process.wait_ready(lambda: "no IPC connection" in process.log_text())


def _reading_configuration(harness: Harness) -> Callable[[Process], None]:
    harness.ipc.mute("GetConfiguration")

    def reached(_: Process) -> None:
        harness.ipc.wait_for(Call, lambda call: call.operation == "GetConfiguration")

    return reached


def _waiting_for_tes(harness: Harness) -> Callable[[Process], None]:
    harness.core.tes.fault = TesFault.slow(20)
    harness.ipc.update_configuration(MANAGER, {"images": [PRIVATE]})

    def reached(_: Process) -> None:
        harness.wait_for_image(PRIVATE, "PULLING")
        wait_until(lambda: len(processes_of(harness)) > 1, "the process that fetches the token")

    return reached


def _pulling(harness: Harness) -> Callable[[Process], None]:
    layers = large_image("term", layers=6, layer_bytes=20_000_000)
    push_image(harness.device.public, "library/large", "1", layers=layers)
    harness.ipc.update_configuration(MANAGER, {"images": ["docker:large:1"]})
    return lambda _: _discard(harness.wait_for_image("docker:large:1", "PULLING"))


def _retrying(harness: Harness) -> Callable[[Process], None]:
    harness.ipc.update_configuration(MANAGER, {"images": [NOWHERE]})
    return lambda _: _discard(harness.wait_for_image(NOWHERE, "RETRYING"))


def _engine_hung(harness: Harness) -> Callable[[Process], None]:
    harness.device.engine.pause()
    harness.ipc.update_configuration(MANAGER, {"images": [IMAGE]})
    return lambda _: _discard(harness.wait_for_image(IMAGE, "QUEUED"))


def _nucleus_silent(harness: Harness) -> Callable[[Process], None]:
    harness.ipc.mute("PublishToTopic")

    def reached(_: Process) -> None:
        harness.ipc.wait_for(Call, lambda call: call.operation == "PublishToTopic")

    return reached


def _idle(harness: Harness) -> Callable[[Process], None]:
    return lambda _: running(harness)


def _discard(_: object) -> None:
    """Makes a condition of something that returns what it waited for."""


@pytest.mark.parametrize(
    "stage",
    [
        _before_ipc,
        _reading_configuration,
        _waiting_for_tes,
        _pulling,
        _retrying,
        _engine_hung,
        _nucleus_silent,
        _idle,
    ],
)
def test_sigterm_ends_it_within_two_seconds_at_every_stage(
    harness: Harness, stage: Callable[[Harness], Callable[[Process], None]]
) -> None:
    reached = stage(harness)
    process = harness.process("serve")
    process.start()
    try:
        reached(process)
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        assert process.wait_ended(10)
        # The requirement itself, not a measure of speed.
        assert time.monotonic() - began < 2
        assert process.exit_code == -signal.SIGTERM
        wait_until(lambda: not processes_of(harness), "the end of its children", 10)
    finally:
        process.kill()
    assert "Traceback" not in process.log_text()


_STEPS = ("connected to the nucleus", "configuration applied", "running seconds=")


def _stage(log: str) -> str:
    """How far a round had come, by its log."""
    if log.count(" pulling image=") > log.count(" ready image="):
        return "pulling"
    reached = [step for step in _STEPS if step in log]
    return reached[-1].removesuffix(" seconds=") if reached else "starting"


def _kill_at_random_instants(harness: Harness, rounds: int) -> Counter[str]:
    """How many kills hit which stage."""
    hit: Counter[str] = Counter()
    chance = random.Random(rounds)
    layers = large_image("killed", layers=3, layer_bytes=4_000_000)
    images = [PRIVATE, "docker:large:1", IMAGE]
    push_image(harness.device.ecr, "app/one", "1", layers=layers)
    push_image(harness.device.public, "library/large", "1", layers=layers[1:])
    push_image(harness.device.public, "library/tool", "1.0")
    harness.ipc.update_configuration(MANAGER, {"images": images})
    began = time.monotonic()
    with harness.service():
        running(harness)
    whole_way = time.monotonic() - began  # on this machine, now
    for number in range(rounds):
        if number % 4 == 0:
            harness.device.engine.remove_images()
        process = harness.process("serve")
        before = len(process.log_text())
        process.start()
        time.sleep(chance.uniform(0, 1.2 * whole_way))
        fetching = child_of(process.pid) is not None
        process.kill()
        stage = _stage(process.log_text()[before:])
        hit[f"{stage}, a token being fetched" if fetching else stage] += 1
    states = len(harness.ipc.states)
    with harness.service() as process:
        running(harness, count=states + 1)
        tags = harness.device.engine.tags()
        log = process.log_text()
    assert tags == {f"{ECR_HOST}/app/one:1", "large:1", "tool:1.0"}
    assert "damaged" not in log
    assert "Traceback" not in log
    wait_until(lambda: not processes_of(harness), "the end of all children", 10)
    kept = {
        "locks",
        "serving.lock",
        "status.json",
        HANDED_OVER,
        *(FILE_NAME + suffix for suffix in ("", "-wal", "-shm")),
    }
    assert {file.name for file in harness.home.iterdir()} <= kept
    with contextlib.closing(sqlite3.connect(harness.home / FILE_NAME)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    state = State(harness.home)
    recorded = {image.reference for image in state.pulled_images()}
    state.close()
    # What a kill cut off between the pull and its record is pulled already: not ours to claim.
    assert recorded <= {f"{ECR_HOST}/app/one:1", "docker.io/library/large:1",
                        "docker.io/library/tool:1.0"}  # fmt: skip
    return hit


def test_ten_kills_at_random_instants_lose_nothing(harness: Harness) -> None:
    _kill_at_random_instants(harness, 10)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_kills_at_random_instants_lose_nothing(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    hit = _kill_at_random_instants(harness, 200)
    seconds = time.monotonic() - began
    with capsys.disabled():
        print(f"\n200 kills in {seconds:.0f} s:", ", ".join(f"{n} {s}" for s, n in hit.items()))
    assert {"starting", "pulling", "pulling, a token being fetched", "running"} <= set(hit)


def test_a_kill_while_waiting_for_tes_leaves_no_process(harness: Harness) -> None:
    reached = _waiting_for_tes(harness)
    process = harness.process("serve")
    process.start()
    reached(process)

    process.kill()

    wait_until(lambda: not processes_of(harness), "the end of its children", 10)


# Without a network


@pytest.fixture
def unplugged() -> Iterator[Callable[[], None]]:
    """Pulls the plug of the box when called; it is in again at the end."""
    yield box.disconnect
    box.connect()


def test_a_boot_without_network_starts_what_is_there_and_gets_the_rest_later(
    harness: Harness, unplugged: Callable[[], None]
) -> None:
    for name in ("tool", "absent"):
        push_image(harness.device.public, f"library/{name}", "1.0")
    push_image(harness.device.public, "library/newest", "latest")
    assert harness.run("pull", IMAGE, "docker:newest").code == 0
    images = [IMAGE, "docker:newest", {"uri": "docker:absent:1.0", "required": False}]
    unplugged()

    with harness.service({"images": images, **QUICK}):
        running(harness)
        waiting = harness.wait_for_image("docker:absent:1.0", "RETRYING")
        present = harness.wait_for_image(IMAGE, "READY")
        unchecked = image_message(harness, "docker:newest", lambda m: m["state"] == "READY")
        box.connect()
        harness.wait_for_image("docker:absent:1.0", "READY")
        checked = image_message(
            harness, "docker:newest", lambda m: m["state"] == "READY" and not m["error"]
        )

    assert present["attempt"] == 1
    assert present["error"] is None
    assert waiting["error"]["code"] == "NETWORK_ERROR"
    assert waiting["retryAt"] > waiting["timestamp"]
    assert unchecked["error"]["code"] == "NETWORK_ERROR"
    assert unchecked["imageId"] == checked["imageId"]
    assert unchecked["retryAt"] > unchecked["timestamp"]


_HURRIED = """
import sys
from dockermgr import retry
retry.LEAST_WAIT_SECONDS /= float(sys.argv[1])
del sys.argv[1]
from dockermgr.cli import main
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("aws", ["away", "there"])
@pytest.mark.parametrize("minutes", [1, 10])
def test_a_minute_without_network_costs_little_cpu(
    harness: Harness,
    unplugged: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
    minutes: int,
    aws: str,
) -> None:
    """A real minute; ten of them with all waits of the back-off ten times as short."""
    hosts = (ECR_HOST, "public.ecr.aws")
    images = [f"docker:{hosts[number % 2]}/absent/n{number}:1" for number in range(20)]
    retry = {"initialSeconds": 1 / minutes, "maxSeconds": 300 / minutes}
    configuration = {"images": images, "startup": {"waitSeconds": 1}, "retry": retry}
    environment = harness.environment()
    if aws == "away":  # as far as the registries
        environment["AWS_ENDPOINT_URL"] = f"http://{box.NETWORK}.1:4566"
    unplugged()
    harness.ipc.update_configuration(MANAGER, configuration)
    process = harness.process("serve", **environment)
    process.arguments = [sys.executable, "-c", _HURRIED, str(minutes), "serve"]
    process.start()
    try:
        running(harness)
        for image in images:
            harness.wait_for_image(image, "RETRYING")
        used, before = cpu_seconds(process), process.log_text().count(" pulling image=")
        time.sleep(60)
        used = cpu_seconds(process) - used
        attempts = process.log_text().count(" pulling image=") - before
    finally:
        process.stop()
    with capsys.disabled():
        print(
            f"\n20 absent images of 2 registries, offline, AWS {aws}: {used:.2f} CPU seconds and"
            f" {attempts} attempts in {minutes} minutes of waiting"
        )
    assert used < 6
    assert attempts < 20 * len(hosts)


# Secrets


def test_no_secret_shows_anywhere_in_success_and_in_failure(
    harness: Harness, tmp_path: Path
) -> None:
    """On command lines; log, messages and files are looked at in every test (`tests/secrecy.py`)."""
    registry = harness.device.start_other_registry()
    assert registry.credentials is not None
    password_file = tmp_path / "password"
    password_file.write_text(registry.credentials.password)
    push_image(registry, "team/app", "1", layers=large_image("secret"))
    push_image(harness.device.ecr, "app/one", "1", layers=large_image())
    other = f"docker:{registry.name}/team/app:1"
    logins = {"username": registry.credentials.user, "passwordFile": str(password_file)}
    harness.ipc.update_configuration(
        MANAGER,
        {
            "images": [PRIVATE, other, f"docker:{ECR_HOST}/app/absent:1", NOWHERE],
            "registries": {registry.name: logins},
            "startup": {"waitSeconds": 0, "onFailure": "continue"},
            **QUICK,
        },
    )
    seen = _CommandLines()

    with seen:
        process = harness.process("serve", "--verbose")
        process.start()
        try:
            harness.wait_for_image(PRIVATE, "READY")
            harness.wait_for_image(other, "READY")
            harness.device.ecr.credentials = Credentials("AWS", "another-password")
            registry.credentials = Credentials("robot", "another-password")
            harness.device.engine.remove_images()
            for fault in (TesFault.status(403, "denied"), TesFault.garbage()):
                harness.core.tes.fault = fault
                harness.run("pull", "--verbose", "--json", "--timeout", "2", PRIVATE, other)
            harness.core.tes.fault = None
            done = harness.run("pull", "--verbose", "--timeout", "40", PRIVATE)
            assert done.code == 3
            assert "DOCKER_LOGIN_ERROR" in done.out + done.err
            harness.ipc.update_configuration(
                MANAGER, {"images": [{"uri": PRIVATE, "platform": "linux/amd64"}, other]}
            )
            image_message(
                harness, PRIVATE, lambda m: (m["error"] or {}).get("code") == "DOCKER_LOGIN_ERROR"
            )
        finally:
            process.stop()

    assert seen.lines
    assert SECRETS.names_in("\n".join(seen.lines).encode()) == []


class _CommandLines:
    """Collects the command lines of all processes of this machine, as long as it is entered."""

    def __init__(self) -> None:
        self.lines: set[str] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.02):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    self.lines.add((folder / "cmdline").read_text().replace("\0", " "))
