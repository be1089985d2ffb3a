"""The schema of the state file, and the steps from each version of it to the next.

A device goes back as well as forward: a deployment that fails puts the older version of the component
back, on the file that the newer one left. So a step only ever adds tables, or columns that have a
default, and what it added stays; and a version that finds a newer schema uses what it knows of it and
changes nothing else.
"""

from __future__ import annotations

import sqlite3

STEPS: tuple[tuple[str, ...], ...] = (
    # 1. `IF NOT EXISTS`, here and in 2: these two were once written before their number was, so a kill
    # in between left tables that the number does not tell of.
    (
        """
        CREATE TABLE IF NOT EXISTS images (
            reference TEXT NOT NULL,
            component TEXT NOT NULL,
            image_id TEXT NOT NULL,
            digest TEXT,
            size_bytes INTEGER NOT NULL,
            pulled_at REAL NOT NULL,
            PRIMARY KEY (reference, component)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE IF NOT EXISTS configurations_that_ran (
            fingerprint TEXT PRIMARY KEY,
            at REAL NOT NULL
        ) WITHOUT ROWID
        """,
    ),
    # 2
    (
        """
        CREATE TABLE IF NOT EXISTS archives (
            identity TEXT PRIMARY KEY,
            content TEXT NOT NULL
        ) WITHOUT ROWID
        """,
    ),
)
"""What leads from schema n to n + 1, at index n; never changed once released."""

SCHEMA_VERSION = len(STEPS)


def version_of(database: sqlite3.Connection) -> int:
    """The version of the schema in the file; 0 for an empty one."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(database: sqlite3.Connection) -> None:
    """Brings an older schema to this one, in one transaction: a kill leaves the old or the new.

    The connection has no transactions of its own (`isolation_level=None`). Raises sqlite3.Error.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been first.
        for step in STEPS[version_of(database) :]:
            for statement in step:
                database.execute(statement)
        if version_of(database) < SCHEMA_VERSION:
            database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
