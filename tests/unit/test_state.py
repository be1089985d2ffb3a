"""What the manager remembers: kept where it can be, never a reason to fail."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dockermgr.state import FILE_NAME, PulledImage, State, home_folder
from dockermgr.state_schema import SCHEMA_VERSION


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path)
    yield made
    made.close()


def image(name: str, component: str = "com.example.App", pulled_at: float = 1.5) -> PulledImage:
    return PulledImage(f"docker.io/library/{name}:1", component, "sha256:id", None, 7, pulled_at)


def assert_works(state: State) -> None:
    state.record_pulled(image("works"))
    state.record_running("fingerprint")
    assert image("works") in state.pulled_images()
    assert state.has_run("fingerprint")


def assert_harmless(state: State) -> None:
    state.record_pulled(image("any"))
    state.record_running("fingerprint")
    assert state.pulled_images() == ()
    assert not state.has_run("fingerprint")
    state.close()


def test_a_new_state_is_empty(state: State) -> None:
    assert state.pulled_images() == ()
    assert not state.has_run("fingerprint")


def test_what_is_recorded_comes_back_in_order(state: State) -> None:
    for name in ("b", "a"):
        state.record_pulled(image(name))
    state.record_pulled(image("a", component="com.example.Another"))
    assert state.pulled_images() == (
        image("a", component="com.example.Another"),
        image("a"),
        image("b"),
    )


def test_the_newest_record_of_an_image_counts(state: State) -> None:
    state.record_pulled(image("a"))
    state.record_pulled(image("a", pulled_at=9))
    assert state.pulled_images() == (image("a", pulled_at=9),)


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    first = State(tmp_path)
    assert_works(first)
    first.close()
    second = State(tmp_path)
    assert second.has_run("fingerprint")
    assert not second.has_run("another")
    assert second.pulled_images() == (image("works"),)
    second.close()


def test_a_kill_at_any_instant_loses_nothing_that_was_recorded(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from dockermgr.state import State;"
        "s = State(Path(sys.argv[1])); s.record_running('fingerprint'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == -9
    state = State(tmp_path)
    assert state.has_run("fingerprint")
    state.close()


def test_it_opens_again_after_it_was_closed(state: State) -> None:
    assert_works(state)
    state.close()
    state.close()
    assert_works(state)


def test_the_folder_is_made(tmp_path: Path) -> None:
    state = State(tmp_path / "not" / "yet")
    assert_works(state)
    state.close()


def test_many_threads_and_several_processes_share_one_file(tmp_path: Path) -> None:
    first = State(tmp_path)
    first.record_running("made")
    states = [first, *(State(tmp_path) for _ in range(3))]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: states[n % 4].record_pulled(image(f"image-{n}")), range(80)))
    for state in states:
        assert len(state.pulled_images()) == 80
        state.close()


def test_an_empty_file_is_a_new_state(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    state = State(tmp_path)
    assert_works(state)
    state.close()


@pytest.mark.parametrize("content", [b"no database at all" * 100, os.urandom(5000)])
def test_a_damaged_file_is_kept_aside_and_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    path.with_name(f"{FILE_NAME}-wal").write_bytes(b"left over")
    state = State(tmp_path)
    assert_works(state)
    assert path.with_name(f"{FILE_NAME}.damaged").read_bytes() == content
    state.close()


def test_damage_in_the_middle_is_found_when_it_is_met(tmp_path: Path) -> None:
    state = State(tmp_path)
    for number in range(200):
        state.record_pulled(image(f"image-{number}"))
    state.close()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    state = State(tmp_path)
    assert state.pulled_images() == ()
    assert_works(state)
    state.close()


def test_another_programs_database_without_version_is_shared(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        other.execute("CREATE TABLE theirs (value)")
        other.commit()
    state = State(tmp_path)
    assert_works(state)
    state.close()


def test_a_database_that_lacks_our_tables_is_replaced(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        other.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    state = State(tmp_path)
    assert_works(state)
    state.close()


def test_a_newer_version_that_only_added_is_used_and_left_as_it_is(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert_works(state)
    state.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as newer:
        newer.execute("CREATE TABLE more (value)")
        newer.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
        newer.commit()
    state = State(tmp_path)
    assert_works(state)
    state.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as newer:
        assert newer.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)


def test_a_folder_in_the_files_place_is_harmless(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).mkdir()
    assert_harmless(State(tmp_path))
    assert "the state file is of no use now" in caplog.text


def test_a_file_in_the_folders_place_is_harmless(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "home").touch()
    assert_harmless(State(tmp_path / "home"))
    assert "the state file is of no use now" in caplog.text


def test_a_file_that_somebody_else_holds_is_waited_for_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockermgr.state.BUSY_TIMEOUT_SECONDS", 0.05)
    state = State(tmp_path)
    state.record_running("before")
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        state.record_running("meanwhile")
        other.execute("ROLLBACK")
    assert (state.has_run("before"), state.has_run("meanwhile")) == (True, False)
    assert_works(state)
    state.close()


_READ_ONLY = """
import os, sys
from pathlib import Path
from dockermgr.state import PulledImage, State
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
state = State(Path(sys.argv[1]))
state.record_running("more")
state.record_pulled(PulledImage("r", "c", "i", None, 1, 1.0))
print(state.pulled_images(), state.has_run("more"))
"""


@pytest.mark.parametrize("present", [False, True], ids=["empty", "with-a-state"])
def test_a_read_only_folder_is_harmless(present: bool) -> None:
    # Not pytest's tmp_path: another user may not look into that.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        home = Path(folder)
        if present:
            state = State(home)
            state.record_running("once")
            state.close()
        home.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", _READ_ONLY, folder],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
        home.chmod(0o755)
    assert (done.returncode, done.stdout.strip()) == (0, "() False"), done.stderr
    assert "the state file is of no use now" in done.stderr


def test_the_component_says_where_its_home_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKERMGR_HOME", "/srv/folder")
    assert home_folder() == Path("/srv/folder")


def test_elsewhere_the_home_is_where_the_system_keeps_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DOCKERMGR_HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert home_folder() == Path("/var/lib/dockermgr")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert home_folder() == Path("/state/dockermgr")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert home_folder() == Path("/home/somebody/.local/state/dockermgr")


def damaged(folder: Path) -> Path:
    return folder / f"{FILE_NAME}.damaged"


def test_a_record_that_the_schema_refuses_is_no_damage(state: State, tmp_path: Path) -> None:
    state.record_running("fingerprint")
    broken: Any = None  # where the schema wants a number
    state.record_pulled(PulledImage("reference", "component", "sha256:id", None, broken, 1.0))
    assert state.pulled_images() == ()
    assert state.has_run("fingerprint")
    assert not damaged(tmp_path).exists()


def test_a_newer_version_that_changed_our_tables_is_not_damage(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("CREATE TABLE images (other)")
        newer.execute("CREATE TABLE configurations_that_ran (other)")
        newer.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
        newer.commit()
    assert_harmless(State(tmp_path))
    assert path.exists()
    assert not damaged(tmp_path).exists()


def test_a_text_that_cannot_be_stored_is_harmless(state: State, tmp_path: Path) -> None:
    state.record_running("\ud800")
    assert not state.has_run("\ud800")
    assert not damaged(tmp_path).exists()
    assert_works(state)
