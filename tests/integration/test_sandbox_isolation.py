"""The sandbox touches nothing of its machine and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from tests.sandbox import box, images
from tests.sandbox.device import Device
from tests.sandbox.engine import Engine
from tests.sandbox.processes import (
    SYSTEM_PATH,
    Process,
    SandboxError,
    alive,
    descendants,
    wait_until,
)

PROJECT = Path(__file__).parents[2]
DEVICE_WITH_A_CONTAINER = """
import signal
import time
from tests.sandbox.device import Device
from tests.sandbox.images import push_image

# A shell starts what it has in the background with the interrupt ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with Device() as device:
    image = push_image(device.public, "sleeper")
    with device.engine.client() as client:
        client.images.pull(image.reference)
        client.containers.run(image.reference, ["sleep", "600"], detach=True)
    device.aws.wait_ready()
    print(device.folder, flush=True)
    while True:  # a signal just before a pause would not end it
        time.sleep(0.1)
"""


def sleeper(engine: Engine, device: Device) -> Container:
    """A container that runs until it is ended."""
    image = images.push_image(device.public, "public/sleeper", "1")
    with engine.client() as client:
        client.images.pull(image.reference)
        return client.containers.run(
            image.reference, ["sleep", "600"], detach=True, network_mode="none"
        )


def commands(pids: set[int]) -> str:
    return "\n".join(
        Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in pids
    )


def cgroups(pid: int) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/dockermgr-sandbox-{pid}/*/*/"))


def output(*command: str) -> str:
    environment = {"PATH": SYSTEM_PATH}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def machine() -> dict[str, object]:
    """What a sandbox must leave alone, as seen from where it is started."""
    seen: dict[str, object] = {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for folder in ("/etc", "/etc/docker", "/run")
        for path in [Path(folder), *Path(folder).iterdir()]
    }
    seen["mounts"] = Path("/proc/self/mountinfo").read_text()
    seen["network"] = output("ip", "address")
    rules = output("iptables-save").splitlines()
    # Comments hold the time, and chains the number of packets.
    seen["rules"] = [rule for rule in rules if not rule.startswith(("#", ":"))]
    return seen


@pytest.fixture
def other_device() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A device of another process, that runs a container; its temporary folder."""
    with subprocess.Popen(
        [sys.executable, "-c", DEVICE_WITH_A_CONTAINER],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        try:
            yield process, Path(folder)
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_nothing_outlives_the_process(
    fresh_device: Device, number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    before = machine()
    process, folder = request.getfixturevalue("other_device")
    family = set(descendants(process.pid))
    running = commands(family)
    for part in ("dockerd", "containerd ", "docker-registry", "moto.server", "sleep 600"):
        assert part in running
    assert folder.is_dir()
    assert cgroups(process.pid) != []
    assert machine() == before

    process.send_signal(number)
    process.wait(60)
    wait_until(lambda: not any(map(alive, family)), "the end of all its processes")
    if number is signal.SIGKILL:
        assert folder.is_dir()
        box.sweep()
    assert not folder.exists()
    assert cgroups(process.pid) == []
    assert machine() == before
    assert fresh_device.folder.is_dir()
    fresh_device.engine.wait_ready()


def test_the_sandbox_is_a_place_of_its_own(fresh_device: Device) -> None:
    for kind in ("net", "mnt"):
        outside = Path(f"/proc/{os.getppid()}/ns/{kind}")
        assert outside.readlink() != Path(f"/proc/self/ns/{kind}").readlink()
    for path in ("/run", "/etc", "/etc/hosts", "/etc/docker", "/etc/docker/daemon.json"):
        host = Path(f"/proc/{os.getppid()}/root{path}")
        assert not host.exists() or not host.samefile(path)
    with pytest.raises(OSError, match="unreachable"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def test_entering_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box, "_entered", False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SandboxError, match="needs root"):
        box.enter()


def test_hosts_come_and_go(fresh_device: Device) -> None:
    box.add_host("old.example", "198.51.100.7")
    box.add_host("old.example", "198.51.100.8")
    box.add_host("other.example", "198.51.100.9")
    assert socket.gethostbyname("old.example") == "198.51.100.8"
    box.remove_host("old.example")
    assert socket.gethostbyname("other.example") == "198.51.100.9"
    assert socket.gethostbyname("public.ecr.aws") == fresh_device.public.address
    with pytest.raises(socket.gaierror):
        socket.gethostbyname("old.example")


def test_sweeping_spares_the_living(fresh_device: Device, tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead = Path(tempfile.gettempdir(), f"dockermgr-sandbox-{ended.pid}-test")
    dead.mkdir()
    unrelated = Path(tempfile.gettempdir(), f"dockermgr-sandbox-notes-{ended.pid}")
    unrelated.mkdir()
    box.sweep()
    assert not dead.exists()
    assert unrelated.exists()
    assert fresh_device.folder.exists()
    unrelated.rmdir()


def test_a_stopped_engine_keeps_its_images(fresh_device: Device) -> None:
    engine = fresh_device.engine
    sleeper(engine, fresh_device)
    family = set(descendants(engine.pid))
    engine.kill()
    assert not any(map(alive, family))
    with socket.socket(socket.AF_UNIX) as connection, pytest.raises(ConnectionRefusedError):
        connection.connect(str(engine.socket))
    engine.start()
    engine.wait_ready()
    with engine.client() as client:
        assert len(client.images.list()) == 1
        (container,) = client.containers.list(all=True)
        # Podman's word for what a boot finds.
        assert container.status in {"exited", "created"}
    engine.stop()
    assert not engine.socket.exists()
    assert cgroups(os.getpid()) == []
    fresh_device.reset()
    with engine.client() as client:
        assert client.images.list() == []
        assert client.containers.list(all=True) == []


def test_a_paused_engine_says_nothing(fresh_device: Device) -> None:
    engine = fresh_device.engine
    engine.pause()
    assert not engine.answers()
    engine.resume()
    engine.wait_ready()
    engine.pause()
    fresh_device.reset()
    engine.wait_ready()


def test_engines_run_side_by_side(fresh_device: Device) -> None:
    second = fresh_device.start_engine("second", config={"bridge": "none", "iptables": False})
    second.wait_ready()
    container = sleeper(second, fresh_device)
    assert container.status == "created"
    with fresh_device.engine.client() as client:
        assert client.images.list() == []
    folder = fresh_device.folder / "engine-second"
    assert folder.is_dir()
    fresh_device.reset()
    assert not folder.exists()
    assert not second.answers()


@pytest.mark.not_on("podman", reason="It starts without any network, wherever it is")
def test_an_engine_without_networks(fresh_device: Device) -> None:
    path = fresh_device.folder / "no-iptables"
    path.mkdir(exist_ok=True)
    programs = fresh_device.engine.process.environment["PATH"]
    for program in ("dockerd", "docker-proxy", "containerd", "containerd-shim-runc-v2", "runc"):
        (path / program).symlink_to(str(shutil.which(program, path=programs)))
    engine = fresh_device.start_engine(
        "poor", program=str(path / "dockerd"), environment={"PATH": f"{path}:/bin"}
    )
    engine.wait_ready()
    assert not engine.bridge


def test_an_engine_that_cannot_start_says_why(fresh_device: Device) -> None:
    engine = fresh_device.start_engine("broken", config={"data-root": "/proc/none-such"})
    with pytest.raises(SandboxError, match=r"(?s)engine broken ended.*none-such"):
        engine.wait_ready()


def test_parts_may_be_started_by_short_lived_threads(fresh_device: Device) -> None:
    process = Process("sleep", ["sleep", "600"], log=fresh_device.folder / "sleep.log")
    thread = threading.Thread(target=process.start)
    thread.start()
    thread.join()
    assert not process.wait_ended(0.3)
    process.stop()
    assert not process.running
