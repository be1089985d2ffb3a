"""The state file through the versions: forward step by step, and back without harm."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dockermgr.state import FILE_NAME, PulledImage, State
from dockermgr.state_schema import SCHEMA_VERSION, STEPS, migrate, version_of

SCHEMA_1 = """
CREATE TABLE IF NOT EXISTS images (
    reference TEXT NOT NULL,
    component TEXT NOT NULL,
    image_id TEXT NOT NULL,
    digest TEXT,
    size_bytes INTEGER NOT NULL,
    pulled_at REAL NOT NULL,
    PRIMARY KEY (reference, component)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS configurations_that_ran (
    fingerprint TEXT PRIMARY KEY,
    at REAL NOT NULL
) WITHOUT ROWID;
INSERT INTO images VALUES ('docker.io/library/a:1', 'com.example.App', 'sha256:id', NULL, 7, 1.5);
INSERT INTO configurations_that_ran VALUES ('ran', 2.5);
"""
"""As the first release wrote it, with a record of each kind."""

SCHEMA_2 = f"""{SCHEMA_1}
CREATE TABLE IF NOT EXISTS archives (
    identity TEXT PRIMARY KEY,
    content TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO archives VALUES ('archive', 'content');
"""
OLD = {0: SCHEMA_1, 1: SCHEMA_1, 2: SCHEMA_2}
"""By the number in the file. 0: killed between making the tables and writing the number."""

KEPT = PulledImage("docker.io/library/a:1", "com.example.App", "sha256:id", None, 7, 1.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path)
    yield made
    made.close()


def write(path: Path, script: str, version: int, journal: str = "WAL") -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"PRAGMA journal_mode={journal}")
        database.executescript(script)
        database.execute(f"PRAGMA user_version={version}")


def content(path: Path) -> tuple[object, ...]:
    """Everything in the file: schema, rows, and the number."""
    with closing(sqlite3.connect(path)) as database:
        return (*database.iterdump(), version_of(database))


def assert_all_works(state: State) -> None:
    state.record_pulled(PulledImage("r", "c", "sha256:new", "sha256:digest", 9, 3.5))
    state.record_running("new")
    state.record_archive("new", "more")
    assert PulledImage("r", "c", "sha256:new", "sha256:digest", 9, 3.5) in state.pulled_images()
    assert state.is_ours("sha256:new")
    assert state.has_run("new")
    assert state.archive("new") == "more"


def run(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(home)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("version", OLD)
def test_an_older_file_is_brought_forward_with_all_that_is_in_it(
    state: State, path: Path, version: int
) -> None:
    write(path, OLD[version], version)

    assert state.pulled_images() == (KEPT,)
    assert state.has_run("ran")
    assert state.archive("archive") == ("content" if version == 2 else None)
    assert_all_works(state)
    state.close()

    with closing(sqlite3.connect(path)) as database:
        assert version_of(database) == SCHEMA_VERSION
    assert not path.with_name(f"{FILE_NAME}.damaged").exists()


@pytest.mark.parametrize("version", OLD)
def test_every_way_forward_ends_in_the_same_schema(tmp_path: Path, version: int) -> None:
    def schema(path: Path) -> set[str]:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            migrate(database)
            rows = database.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
            return {" ".join(sql.split()) for (sql,) in rows}

    write(tmp_path / "old", OLD[version], version)
    assert schema(tmp_path / "old") == schema(tmp_path / "new")


@pytest.mark.parametrize("version", OLD)
def test_a_kill_anywhere_on_the_way_leaves_the_old_file_or_the_new(
    tmp_path: Path, version: int
) -> None:
    # Killed when SQLite is about to take its n-th step: statement by statement through all of it.
    code = """
import os, sqlite3, sys
from dockermgr import state, state_schema
class Killed(sqlite3.Connection):
    left = int(os.environ["STEPS"])
    def execute(self, *arguments):
        Killed.left -= 1
        if Killed.left < 0:
            os.kill(os.getpid(), 9)
        return super().execute(*arguments)
connect = sqlite3.connect
sqlite3.connect = lambda *a, **k: connect(*a, factory=Killed, **k)
made = state.State(state.Path(sys.argv[1]))
made.has_run("ran")
"""
    seen = set()
    for steps in range(40):
        home = tmp_path / str(steps)
        home.mkdir()
        write(home / FILE_NAME, OLD[version], version)
        before = content(home / FILE_NAME)
        done = subprocess.run(
            [sys.executable, "-c", code, str(home)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "STEPS": str(steps)},
            check=False,
        )
        after = content(home / FILE_NAME)
        assert after == before or after[-1] == SCHEMA_VERSION
        seen.add(after[-1])
        state = State(home)
        assert state.has_run("ran")
        assert state.pulled_images() == (KEPT,)
        assert_all_works(state)
        state.close()
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert seen == {version, SCHEMA_VERSION}


@pytest.mark.parametrize("version", [None, *OLD])
def test_processes_that_bring_it_forward_at_once_do_not_disturb_each_other(
    tmp_path: Path, path: Path, version: int | None
) -> None:
    if version is not None:
        write(path, OLD[version], version, journal="DELETE")
    code = (
        "import sys; from pathlib import Path; from dockermgr.state import State;"
        "sys.stdin.read(); s = State(Path(sys.argv[1])); s.record_running(sys.argv[2]);"
        "sys.exit(not s.has_run(sys.argv[2]))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), f"process-{number}"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    # All have imported what they need, and wait for the end of their input: now.
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    for process in processes:
        assert process.stderr is not None
        with process.stderr:
            complaints = process.stderr.read()
        assert (process.wait(), complaints) == (0, "")

    state = State(tmp_path)
    assert all(state.has_run(f"process-{number}") for number in range(4))
    assert state.has_run("ran") == (version is not None)
    state.close()


NEWER = {
    "more columns": SCHEMA_2
    + """
ALTER TABLE images ADD COLUMN last_used REAL NOT NULL DEFAULT 0;
ALTER TABLE configurations_that_ran ADD COLUMN more TEXT NOT NULL DEFAULT 'x';
ALTER TABLE archives ADD COLUMN more TEXT;
""",
    "more tables": SCHEMA_2
    + "CREATE TABLE owners (reference TEXT); INSERT INTO owners VALUES ('r');",
    "columns in another order": """
CREATE TABLE images (pulled_at REAL, size_bytes INTEGER, more TEXT DEFAULT 'm', digest TEXT, image_id TEXT,
                     component TEXT, reference TEXT, PRIMARY KEY (component, reference));
CREATE TABLE configurations_that_ran (at REAL, fingerprint TEXT PRIMARY KEY);
CREATE TABLE archives (content TEXT, identity TEXT PRIMARY KEY);
INSERT INTO images (reference, component, image_id, digest, size_bytes, pulled_at)
VALUES ('docker.io/library/a:1', 'com.example.App', 'sha256:id', NULL, 7, 1.5);
INSERT INTO configurations_that_ran (fingerprint, at) VALUES ('ran', 2.5);
""",
}


@pytest.mark.parametrize("script", NEWER.values(), ids=NEWER.keys())
def test_a_newer_file_whose_statements_still_work_is_used(
    state: State, path: Path, script: str
) -> None:
    write(path, script, SCHEMA_VERSION + 1)

    assert state.pulled_images() == (KEPT,)
    assert state.has_run("ran")
    assert_all_works(state)
    state.close()

    with closing(sqlite3.connect(path)) as database:
        assert version_of(database) == SCHEMA_VERSION + 1


def test_what_a_newer_version_noted_of_an_image_outlasts_an_older_one(
    state: State, path: Path
) -> None:
    write(path, NEWER["more columns"], SCHEMA_VERSION + 1)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE images SET last_used = 77")
        database.commit()

    again = PulledImage(KEPT.reference, KEPT.component, "sha256:other", None, 8, 9.5)
    state.record_pulled(again)
    assert state.pulled_images() == (again,)
    state.close()

    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT last_used FROM images").fetchall() == [(77,)]


FOREIGN = {
    "a table dropped": SCHEMA_2 + "DROP TABLE configurations_that_ran; DROP TABLE images;",
    "a column renamed": SCHEMA_2 + "ALTER TABLE images RENAME COLUMN image_id TO id;"
    "DROP TABLE configurations_that_ran;",
    "another key": """
CREATE TABLE images (reference TEXT, component TEXT, image_id TEXT, digest TEXT, size_bytes INTEGER,
                     pulled_at REAL, engine TEXT NOT NULL, PRIMARY KEY (reference, component, engine));
""",
}


@pytest.mark.parametrize("script", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_newer_file_that_cannot_be_used_is_left_as_it_is(
    state: State, path: Path, script: str, journal: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, script, SCHEMA_VERSION + 1, journal)
    before = content(path), path.read_bytes()

    state.record_pulled(KEPT)
    state.record_running("new")
    assert state.pulled_images() == ()
    assert not state.has_run("new")
    state.close()

    assert (content(path), path.read_bytes()) == before
    assert "the state file is of no use now" in caplog.text
    assert [item.name for item in path.parent.iterdir()] == [FILE_NAME]


def test_what_works_in_a_newer_file_works_beside_what_does_not(state: State, path: Path) -> None:
    write(path, SCHEMA_2 + "DROP TABLE images;", SCHEMA_VERSION + 1)

    state.record_pulled(KEPT)
    assert state.has_run("ran")
    assert state.archive("archive") == "content"


def test_each_schema_has_its_step() -> None:
    assert max(OLD) == len(STEPS)
