"""Who supervises a container, and whether that process still is the one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dockermgr.containers import Container, Supervisor, component_version


def supervisor_of(child: subprocess.Popen[bytes]) -> Supervisor:
    code = "import sys; from dockermgr.containers import _state_and_start as s; print(s(int(sys.argv[1]))[1])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(child.pid)],
        env=environment,
        capture_output=True,
        check=True,
    )
    return replace(Supervisor.this_process(), pid=child.pid, started=done.stdout.decode().strip())


def test_a_label_says_it_all() -> None:
    me = Supervisor.this_process()
    assert Supervisor.read(str(me)) == me
    assert me.is_near
    assert me.is_alive()


@pytest.mark.parametrize("label", ["", "x", "0 1 b n", "-1 1 b n", "12", "12 1 b", "12 1 b n m"])
def test_a_label_of_somebody_else_is_none(label: str) -> None:
    assert Supervisor.read(label) is None
    assert not Container("id", "name", "", "running", Supervisor.read(label)).is_orphan


def test_an_ended_process_is_gone_also_while_nobody_has_asked_for_its_end() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        supervisor = supervisor_of(child)
        assert supervisor.is_alive()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not supervisor.is_alive()
    assert not supervisor.is_alive()
    assert Container("id", "name", "", "running", supervisor).is_orphan


def test_another_process_of_the_same_id_is_not_taken_for_it() -> None:
    assert not replace(Supervisor.this_process(), started="1").is_alive()


def test_nobody_lives_through_a_boot() -> None:
    assert not replace(Supervisor.this_process(), boot="another").is_alive()


def test_a_process_of_another_namespace_is_left_alone() -> None:
    other = replace(Supervisor.this_process(), pid=2**22 + 1, namespace="pid:[1]")
    assert other.is_alive()
    assert not other.is_near


def test_the_version_is_that_of_the_only_artifacts(tmp_path: Path) -> None:
    work = tmp_path / "work" / "com.example.App"
    artifacts = tmp_path / "packages" / "artifacts" / "com.example.App"
    assert component_version("com.example.App", work) == ""
    (artifacts / "1.0.0").mkdir(parents=True)
    assert component_version("com.example.App", work) == "1.0.0"
    (artifacts / "1.1.0").mkdir()
    assert component_version("com.example.App", work) == ""
