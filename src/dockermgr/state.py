"""What the manager remembers: images it pulled and for whom, archives, configurations that once ran.

SQLite in the home folder, shared by all processes of the manager. It is an aid, never a condition:
when it is lost, damaged, read-only or the disk is full, a warning is logged and the work goes on.
No credentials in it.

Statements name their columns and replace none that they do not name: the file may be a newer
version's, before whose time this one has been put back (see `state_schema`).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockermgr.state_schema import SCHEMA_VERSION, migrate, version_of

log = logging.getLogger(__name__)

FILE_NAME = "state.sqlite3"
BUSY_TIMEOUT_SECONDS = 5.0
"""Other processes of the manager write for milliseconds."""

_Rows = list[Any]
"""What SQLite gives: rows of values whose types the schema says."""


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image that this manager pulled; `pulled_at` in epoch seconds."""

    reference: str
    component: str
    image_id: str
    digest: str | None
    size_bytes: int
    pulled_at: float


def home_folder() -> Path:
    """Where the manager keeps its state: `DOCKERMGR_HOME`, which the component sets to its work folder;
    else the place that the Filesystem Hierarchy Standard or the XDG specification gives."""
    if home := os.environ.get("DOCKERMGR_HOME"):
        return Path(home)
    if os.geteuid() == 0:
        return Path("/var/lib/dockermgr")
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "dockermgr"


class State:
    """The state file of `home`. No method raises; each may be called from any thread."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE_NAME
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._is_newer = False

    def close(self) -> None:
        """Closes the file; a later call opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def record_pulled(self, image: PulledImage) -> None:
        """`image` was pulled for its component."""
        self._write(
            "INSERT INTO images (reference, component, image_id, digest, size_bytes, pulled_at)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (reference, component) DO UPDATE SET"
            " image_id = excluded.image_id, digest = excluded.digest,"
            " size_bytes = excluded.size_bytes, pulled_at = excluded.pulled_at",
            (
                image.reference,
                image.component,
                image.image_id,
                image.digest,
                image.size_bytes,
                image.pulled_at,
            ),
        )

    def pulled_images(self) -> tuple[PulledImage, ...]:
        """All that is recorded, by reference; empty when the state cannot be read."""
        rows = self._read(
            "SELECT reference, component, image_id, digest, size_bytes, pulled_at FROM images"
            " ORDER BY reference, component",
            (),
        )
        return tuple(PulledImage(*row) for row in rows)

    def is_ours(self, image_id: str) -> bool:
        """Whether this manager pulled an image of that id."""
        return bool(self._read("SELECT 1 FROM images WHERE image_id = ? LIMIT 1", (image_id,)))

    def was_reached(self, host: str) -> bool:
        """Whether an image of that registry was ever pulled."""
        return bool(
            self._read(
                "SELECT 1 FROM images WHERE reference >= ? AND reference < ? LIMIT 1",
                (f"{host}/", f"{host}0"),  # 0 is the character after the slash
            )
        )

    def record_running(self, fingerprint: str) -> None:
        """The component reported RUNNING with the configuration of that fingerprint."""
        self._write(
            "INSERT INTO configurations_that_ran (fingerprint, at) VALUES (?, ?)"
            " ON CONFLICT (fingerprint) DO UPDATE SET at = excluded.at",
            (fingerprint, time.time()),
        )

    def has_run(self, fingerprint: str) -> bool:
        """Whether the component ever reported RUNNING with that configuration."""
        found = self._read(
            "SELECT 1 FROM configurations_that_ran WHERE fingerprint = ?", (fingerprint,)
        )
        return bool(found)

    def record_archive(self, identity: str, content: str) -> None:
        """What an archive turned out to hold, in the words of who loaded it."""
        self._write(
            "INSERT INTO archives (identity, content) VALUES (?, ?)"
            " ON CONFLICT (identity) DO UPDATE SET content = excluded.content",
            (identity, content),
        )

    def archive(self, identity: str) -> str | None:
        """What was recorded of that archive."""
        rows = self._read("SELECT content FROM archives WHERE identity = ?", (identity,))
        return str(rows[0][0]) if rows else None

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        self._run(lambda database: database.execute(statement, values).fetchall())

    def _read(self, statement: str, values: tuple[object, ...]) -> _Rows:
        return self._run(lambda database: database.execute(statement, values).fetchall())

    def _run(self, work: Callable[[sqlite3.Connection], _Rows]) -> _Rows:
        with self._lock:
            for attempt in (1, 2):
                try:
                    if self._database is None:
                        self._database = self._open()
                    return work(self._database)
                except sqlite3.DatabaseError as error:
                    self._close()
                    # What a newer version made of its file is for that version to judge.
                    if attempt == 1 and _is_damage(error) and not self._is_newer:
                        self._put_aside(error)
                        continue
                    log.warning(
                        "the state file is of no use now path=%s error=%s", self.path, error
                    )
                    return []
                except (OSError, sqlite3.Error, ValueError, OverflowError) as error:
                    log.warning(
                        "the state file is of no use now path=%s error=%s", self.path, error
                    )
                    return []
        return []

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            self.path,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,  # each statement is a transaction of its own
            check_same_thread=False,  # every use is under our lock
        )
        try:
            self._is_newer = False
            version = version_of(database)
            self._is_newer = version > SCHEMA_VERSION
            if version < SCHEMA_VERSION:
                migrate(database)
            if not self._is_newer:
                database.execute("PRAGMA journal_mode=WAL")
            # A power cut may lose the last records, which the engine still knows; never the file.
            database.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            database.close()
            raise
        return database

    def _put_aside(self, error: Exception) -> None:
        """Keeps the damaged file for whoever wants to look at it, and makes room for a new one."""
        aside = self.path.with_name(f"{FILE_NAME}.damaged")
        log.warning("the state file is damaged, starting a new one path=%s kept=%s error=%s",
                    self.path, aside, error)  # fmt: skip
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(FILE_NAME + suffix)
            try:
                if suffix:
                    part.unlink(missing_ok=True)
                else:
                    part.replace(aside)
            except OSError as problem:
                log.warning("cannot put the damaged state file aside error=%s", problem)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    # OperationalError is "locked", "read-only", "disk is full", "no such table": damage is none of the
    # first three, and the last is what a half-written file of another program looks like.
    if isinstance(error, sqlite3.OperationalError):
        return "no such table" in str(error)
    # Its subclasses speak of the statement or its values, not of the file.
    return type(error) is sqlite3.DatabaseError
