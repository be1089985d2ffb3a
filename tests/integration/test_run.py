"""`dockermgr run` on a real engine: codes, output, signals, names, leftovers."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockermgr.containers import Supervisor
from tests.integration.harness import Harness
from tests.integration.running import (
    APP,
    FOREVER,
    IMAGE,
    STUBBORN,
    Runner,
    clear,
    ours,
    push,
    tree,
    wait_none,
    wait_up,
)
from tests.sandbox.device import ECR_HOST
from tests.sandbox.images import large_image, push_image
from tests.sandbox.processes import wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def runner(harness: Harness) -> Iterator[Runner]:
    push(harness)
    yield Runner(harness)
    clear(harness)


def test_an_ecr_image_is_pulled_with_the_components_credentials_and_run(
    each_harness: Harness,
) -> None:
    push_image(each_harness.device.ecr, "app/one", "1")
    runner = Runner(each_harness)

    done = runner.run(f"docker:{ECR_HOST}/app/one:1", "--", "sh", "-c", "echo out; echo err >&2")

    assert done.code == 0, done.err
    assert done.out == "out\n"
    assert "PULLING" in done.err
    assert done.err.endswith("err\n")
    assert not ours(each_harness)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--", "true"), 0),
        (("--", "sh", "-c", "exit 7"), 7),
        (("--", "sh", "-c", "kill -9 $$"), 137),
        (("--init=false", "--", "no-such-program"), 127),
        (("--init=false", "--", "/etc"), 126),
        (("--no-such-flag",), 125),
        (("-d",), 125),
        (("sh",), 125),
        (("--network", "no-such-network"), 125),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_the_exit_code_is_the_containers_or_dockers(
    runner: Runner, words: tuple[str, ...], code: int
) -> None:
    assert runner.run(IMAGE, *words).code == code
    assert not ours(runner.harness)


def test_what_keeps_it_from_running_is_125(runner: Runner) -> None:
    absent = runner.run("docker:absent:1.0")
    assert (absent.code, absent.out) == (125, "")
    assert "DOCKER_IMAGE_NOT_VALID" in absent.err
    without = runner.run(IMAGE, PATH="/nonexistent")
    assert (without.code, without.out) == (125, "")
    assert "no docker command" in without.err
    dockers_order = runner.run("-v", "/tmp:/x", IMAGE)
    assert dockers_order.code == 125
    assert "'/tmp:/x'" in dockers_order.err
    assert runner.run("--policy", "Often", IMAGE).code == 125
    assert runner.run().code == 125


def test_dockers_flags_reach_docker(runner: Runner) -> None:
    (runner.work / "given").write_text("from the host\n")
    script = "echo $ONE $TWO; pwd; id -u; cat /data/given; touch /x; ls /tmp/own"

    done = runner.run(
        IMAGE, "-eONE=1", "--env", "TWO=a b", "-w", "/tmp", "-u", "1000:1000", "--read-only",
        "-v", f"{runner.work}:/data:ro", "--tmpfs=/tmp/own", "--entrypoint", "sh", "--", "-c", script,
    )  # fmt: skip

    assert done.out.splitlines() == ["1 a b", "/tmp", "1000", "from the host"]
    assert "Read-only file system" in done.err


def test_a_terminal_is_the_containers(runner: Runner) -> None:
    script = "test -t 0 && test -t 1 && read answer && exit $answer"
    words = [sys.executable, "-m", "dockermgr", "run", IMAGE, "-it", "--", "sh", "-c", script]
    master, slave = pty.openpty()
    process = subprocess.Popen(
        words, env=runner.environment(), cwd=runner.work, stdin=slave, stdout=slave, stderr=slave
    )
    try:
        os.write(master, b"42\n")
        assert process.wait(60) == 42
    finally:
        process.kill()
        os.close(slave)
        os.close(master)


def test_standard_input_is_the_containers_when_asked_for(runner: Runner) -> None:
    words = [sys.executable, "-m", "dockermgr", "run", IMAGE, "-i", "--", "wc", "-c"]
    done = subprocess.run(
        words, env=runner.environment(), cwd=runner.work, input=b"x" * 300_000,
        stdout=subprocess.PIPE, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == b"300000\n"


def test_no_output_is_lost_and_its_streams_stay_apart(runner: Runner) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"
    done = runner.run(IMAGE, "--", "sh", "-c", script)
    assert done.out.splitlines() == [f"out {number}" for number in range(3000)]
    errors = [line for line in done.err.splitlines() if line.startswith("err ")]
    assert errors == [f"err {number}" for number in range(3000)]


def test_a_container_tells_whose_it_is(runner: Runner) -> None:
    root = runner.harness.core.root
    (root / "packages" / "artifacts" / APP / "1.2.3").mkdir(parents=True)
    with runner.up(IMAGE, "--label", "mine=too", *FOREVER) as process:
        (container,) = ours(runner.harness)
        assert container.name == APP
        assert container.labels["io.dockermgr.component"] == APP
        assert container.labels["io.dockermgr.version"] == "1.2.3"
        assert container.labels["mine"] == "too"
        supervisor = Supervisor.read(container.labels["io.dockermgr.supervisor"])
        assert supervisor is not None
        assert supervisor.pid == process.pid
        assert supervisor.is_alive()
        assert container.attrs["HostConfig"]["Init"] is True
        assert container.attrs["HostConfig"]["AutoRemove"] is True
        image = container.attrs["Config"]["Image"]
        assert image.removeprefix("docker.io/library/") == "tool:1.0"  # Podman's are whole


def test_what_stays_is_one_small_process(runner: Runner) -> None:
    with runner.up(IMAGE, *FOREVER) as process:
        assert tree(process.pid) == [process.pid]
        status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    assert int(found[1]) <= 30 * 1024  # the SDKs alone take more


# Signals


_COUNT = """
n=0; trap 'n=$((n+1))' TERM; trap 'echo INT; exit 3' INT
echo up; while [ $n = 0 ]; do sleep 0.1; done; sleep 2; echo TERM $n; exit 4
"""
_COUNTING = ("--", "sh", "-c", _COUNT)


def test_sigterm_and_sigint_reach_the_container_and_its_code_comes_back(runner: Runner) -> None:
    for number, code, word in ((signal.SIGTERM, 4, "TERM 1"), (signal.SIGINT, 3, "INT")):
        with runner.up(IMAGE, *_COUNTING) as process:
            process.signal(number)
            assert process.wait_ended(30)
            assert process.exit_code == code
            assert word in process.log_text().splitlines()
        assert not ours(runner.harness)


def test_the_container_hears_a_signal_once_when_all_processes_get_it(runner: Runner) -> None:
    """Lite's systemd signals a whole control group at once, Java a tree of processes."""
    with runner.up(IMAGE, *_COUNTING) as process:
        for _ in range(2):
            for pid in tree(process.pid):
                os.kill(pid, signal.SIGTERM)
            time.sleep(0.5)
        assert process.wait_ended(30)
        assert process.exit_code == 4
        assert "TERM 1" in process.log_text().splitlines()


def test_a_script_without_exec_is_stopped_as_well(runner: Runner) -> None:
    words = [sys.executable, "-m", "dockermgr", "run", IMAGE, *FOREVER]
    log = runner.harness.core.root / "script.log"
    with log.open("wb") as output, subprocess.Popen(
        ["sh", "-c", '"$@"; echo ended $?', "script", *words], env=runner.environment(),
        cwd=runner.work, stdout=output, stderr=output, start_new_session=True,
    ) as script:  # fmt: skip
        wait_until(lambda: "up\n" in log.read_text(), "the container")
        os.killpg(script.pid, signal.SIGTERM)
    wait_none(runner.harness)


def test_who_does_not_listen_is_killed_within_the_nucleuss_patience(runner: Runner) -> None:
    with runner.up(IMAGE, *STUBBORN) as process:
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        time.sleep(1)
        process.signal(signal.SIGTERM)
        assert process.wait_ended(30)
        # The requirement itself, not a measure of speed.
        assert time.monotonic() - began < 15
        assert process.exit_code == 137
        assert "did not end within 10 s" in process.log_text()
    assert not ours(runner.harness)


def test_an_image_may_name_its_own_signal(runner: Runner) -> None:
    script = "trap 'exit 9' USR1; echo up; while :; do sleep 0.1; done"
    with runner.up(IMAGE, "--stop-signal", "SIGUSR1", "--", "sh", "-c", script) as process:
        process.signal(signal.SIGTERM)
        assert process.wait_ended(30)
        assert process.exit_code == 9


def test_a_signal_at_any_instant_leaves_no_container(runner: Runner) -> None:
    codes = set()
    for instant in range(12):
        with runner.running(IMAGE, *FOREVER) as process:
            time.sleep(0.15 + instant * 0.15)
            process.signal(signal.SIGTERM)
            assert process.wait_ended(30)
            assert process.exit_code in {143, -signal.SIGTERM}, process.log_text()
            codes.add(process.exit_code)
        assert not ours(runner.harness)
    assert 143 in codes


def test_a_signal_while_pulling_ends_it(runner: Runner) -> None:
    push_image(runner.harness.device.public, "library/large", "1", layers=large_image())
    proxy = runner.harness.device.put_between(runner.harness.device.public)
    proxy.bytes_per_second = 1_000_000
    with runner.running("docker:large:1", *FOREVER) as process:
        process.wait_ready(lambda: "PULLING" in process.log_text())
        process.signal(signal.SIGTERM)
        assert process.wait_ended(30)
        assert process.exit_code == 143
    assert not ours(runner.harness)


def test_an_engine_that_hangs_does_not_hold_it_up(runner: Runner) -> None:
    with runner.up(IMAGE, *FOREVER) as process:
        runner.harness.device.engine.pause()
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        assert process.wait_ended(30)
        # The requirement itself, not a measure of speed: then the nucleus kills.
        assert time.monotonic() - began < 15
        assert process.exit_code == 125
        runner.harness.device.engine.resume()
    wait_none(runner.harness)


def test_an_engine_that_goes_away_ends_it(runner: Runner) -> None:
    with runner.up(IMAGE, *FOREVER) as process:
        runner.harness.device.engine.kill()
        assert process.wait_ended(30)
        assert process.exit_code == 125
    runner.harness.device.engine.start()
    runner.harness.device.engine.wait_ready()
    assert runner.run(IMAGE, "--", "true").code == 0
    assert not ours(runner.harness)


# Names and leftovers


def test_what_an_earlier_life_left_is_replaced(runner: Runner) -> None:
    with runner.up(IMAGE, *FOREVER) as process:
        (left,) = ours(runner.harness)
        for pid in tree(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait_ended(10)
        assert [found.id for found in ours(runner.harness, everything=False)] == [left.id]
        with runner.up(IMAGE, *FOREVER) as again:
            (found,) = ours(runner.harness)
            assert found.id != left.id
            assert "removing a container of an earlier run" in again.log_text()


def test_the_newest_run_of_a_name_ends_the_one_before_it(runner: Runner) -> None:
    with runner.up(IMAGE, *FOREVER) as first, runner.up(IMAGE, *FOREVER) as second:
        assert first.wait_ended(10)
        assert first.exit_code == 143
        (found,) = ours(runner.harness)
        supervisor = Supervisor.read(found.labels["io.dockermgr.supervisor"])
        assert supervisor is not None
        assert supervisor.pid == second.pid


def test_one_that_still_waits_for_its_image_is_ended_as_well(runner: Runner) -> None:
    assert runner.run(IMAGE, "--", "true").code == 0
    runner.harness.device.public.stop()
    with runner.running("docker:other:1.0", *FOREVER) as first:
        first.wait_ready(lambda: "RETRYING" in first.log_text())
        with runner.up(IMAGE, *FOREVER):
            assert first.wait_ended(10)
            assert first.exit_code == 143
            assert len(ours(runner.harness)) == 1


def test_two_names_of_one_component_leave_each_other_alone(runner: Runner) -> None:
    with (
        runner.up("--name", "one", IMAGE, *FOREVER) as one,
        runner.up(IMAGE, "--name=two", *FOREVER) as two,
        runner.up(IMAGE, *FOREVER) as three,
    ):
        assert {found.name for found in ours(runner.harness)} == {"one", "two", APP}
        assert one.running
        assert two.running
        assert three.running


def test_another_ones_container_is_left_alone(runner: Runner) -> None:
    other = Runner(runner.harness, "com.example.Other")
    with other.up("--name", APP, IMAGE, *FOREVER) as theirs:
        done = runner.run(IMAGE, *FOREVER)
        assert done.code == 125
        assert "already in use" in done.err
        assert theirs.running
        assert len(ours(runner.harness)) == 1


def test_a_container_that_is_kept_makes_room_for_the_next(runner: Runner) -> None:
    for _ in range(2):
        assert runner.run(IMAGE, "--rm=false", "--", "sh", "-c", "echo seen; exit 6").code == 6
        (kept,) = ours(runner.harness)
        assert kept.status == "exited"
        assert kept.logs() == b"seen\n"


def test_outside_greengrass_each_run_has_a_name_of_its_own(runner: Runner) -> None:
    with (
        runner.up(IMAGE, *FOREVER, SVCUID="") as one,
        runner.up(IMAGE, *FOREVER, SVCUID="") as two,
    ):
        names = {found.name for found in ours(runner.harness)}
    assert names == {f"tool-{one.pid}", f"tool-{two.pid}"}


# The rest


def test_an_engine_that_starts_later_is_waited_for(runner: Runner) -> None:
    runner.harness.device.engine.stop()
    with runner.running(IMAGE, "--", "echo", "up") as process:
        process.wait_ready(lambda: "DOCKER_SERVICE_UNAVAILABLE" in process.log_text())
        runner.harness.device.engine.start()
        runner.harness.device.engine.wait_ready()
        assert process.wait_ended(60)
        assert process.exit_code == 0
        assert "up\n" in process.log_text()


def test_the_state_of_a_privileged_run_is_the_managers_users(runner: Runner) -> None:
    home = runner.harness.home
    os.chown(home, 65534, 65534)
    with runner.up(IMAGE, *FOREVER):
        for path in (home / "locks", *(home / "locks").iterdir()):
            assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


def test_two_runs_that_start_at_once_end_as_one(runner: Runner) -> None:
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(runner.running(IMAGE, *FOREVER)) for _ in range(2)]
        wait_until(lambda: any(not one.running for one in pair), "the end of one", 60)
        (left,) = [one for one in pair if one.running]
        wait_up(left)
        assert len(ours(runner.harness)) == 1
