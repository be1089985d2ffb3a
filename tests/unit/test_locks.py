"""One holder of a lock at a time, in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from dockermgr import locks
from dockermgr.cancellation import Cancellation
from dockermgr.errors import Stopped
from dockermgr.locks import ImageLocks


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOOK_AGAIN_SECONDS", 0.005)


class Holder(Cancellation):
    """Takes a lock, and is itself what it can be cancelled by."""

    def __init__(self, folder: Path, name: str = "nginx:1") -> None:
        super().__init__()
        self.waits = threading.Event()
        self.inside = threading.Event()
        self.leave = threading.Event()
        self._locks = ImageLocks(folder)
        self._name = name

    def wait(self, seconds: float) -> None:
        self.waits.set()
        super().wait(seconds)

    def take(self) -> bool:
        """Holds the lock until told to leave; whether it had to wait."""
        with self._locks.hold(self._name, self) as waited:
            self.inside.set()
            assert self.leave.wait(30)
            return waited

    def pass_through(self) -> bool:
        """Takes the lock and lets it go; whether it had to wait."""
        self.leave.set()
        return self.take()


def test_a_free_lock_is_not_waited_for_and_free_again(tmp_path: Path) -> None:
    for _ in range(3):
        assert Holder(tmp_path / "not" / "yet").pass_through() is False


def test_two_holders_exclude_each_other_and_the_second_knows_that_it_waited(
    tmp_path: Path,
) -> None:
    first, second = Holder(tmp_path), Holder(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first.take)
        assert first.inside.wait(30)
        two = pool.submit(second.pass_through)
        assert second.waits.wait(30)
        assert not second.inside.is_set()
        first.leave.set()
        assert (one.result(30), two.result(30)) == (False, True)


def test_other_names_have_other_locks(tmp_path: Path) -> None:
    with ImageLocks(tmp_path).hold("nginx:1", Cancellation()):
        assert Holder(tmp_path, "nginx:2").pass_through() is False


def test_a_lock_is_free_after_a_failure_within(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="a defect"),
        ImageLocks(tmp_path).hold("nginx:1", Cancellation()),
    ):
        raise ValueError("a defect")
    assert Holder(tmp_path).pass_through() is False


def test_waiting_can_be_cancelled(tmp_path: Path) -> None:
    holder = Holder(tmp_path)
    with ThreadPoolExecutor(1) as pool, ImageLocks(tmp_path).hold("nginx:1", Cancellation()):
        waiting = pool.submit(holder.take)
        assert holder.waits.wait(30)
        holder.cancel()
        with pytest.raises(Stopped):
            waiting.result(30)
    assert not holder.inside.is_set()
    assert Holder(tmp_path).pass_through() is False


def test_where_the_folder_cannot_be_written_nobody_is_locked_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "locks"
    with ImageLocks(folder).hold("nginx:1", Cancellation()) as waited:
        assert waited is False
        assert Holder(folder).pass_through() is False


_HOLD = """
import sys
from pathlib import Path
from dockermgr.cancellation import Cancellation
from dockermgr.locks import ImageLocks
with ImageLocks(Path(sys.argv[1])).hold("nginx:1", Cancellation()):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_leaves_its_lock_free(tmp_path: Path) -> None:
    holder = Holder(tmp_path)
    with (
        subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            waiting: Future[bool] = pool.submit(holder.pass_through)
            assert holder.waits.wait(30)
            assert not holder.inside.is_set()
        finally:
            other.kill()
        assert waiting.result(30) is True
