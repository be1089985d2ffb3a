"""Children of the sandbox, which never outlive this process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""For children: sudo and cron leave sbin out, where dockerd, iptables and ip are."""

START_TIMEOUT_SECONDS = 60.0
"""Far above what any part needs, so that a slow machine is not a failing one."""

_POLL_SECONDS = 0.02
_TAIL_LINES = 25

# The kernel sends the parent-death signal when the *thread* that made the child ends. So all
# children are made by one thread that lives as long as the process: tests may start parts from
# threads of their own.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-spawner")


class SandboxError(Exception):
    """A part of the sandbox cannot do its work; the message says why and what to do."""


def require_programs(*programs: str) -> None:
    """Raises `SandboxError` when one of the programs is not installed."""
    missing = [program for program in programs if shutil.which(program, path=SYSTEM_PATH) is None]
    if missing:
        raise SandboxError(
            f"The sandbox needs {', '.join(missing)}: run `sudo sh tools/packages.sh`."
        )


def wait_until(
    condition: Callable[[], bool], what: str, timeout_seconds: float = START_TIMEOUT_SECONDS
) -> None:
    """Returns when `condition` holds; raises `SandboxError` with `what` when time runs out."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SandboxError(f"{what}: not within {timeout_seconds:.0f} s")
        time.sleep(_POLL_SECONDS)


class Process:
    """One child, whose output goes to a log file.

    Its session is its own: Ctrl-C reaches this process only, which then stops it in order. When
    this process is killed, it is, too: `setpriv` sets the parent-death signal and then becomes
    the program.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.log = log
        self.environment = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", **(environment or {})}
        self.folder = folder
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; `SandboxError` when it was never started."""
        if self._popen is None:
            raise SandboxError(f"{self.name} was not started")
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """As `subprocess` says it: negative for a signal; None while it runs."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        """Starts it; its output is appended to the log file."""
        if self.running:
            raise SandboxError(f"{self.name} runs already")
        _spawner.submit(self._spawn).result()

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
            )

    def wait_ready(
        self, ready: Callable[[], bool], timeout_seconds: float = START_TIMEOUT_SECONDS
    ) -> None:
        """Waits for `ready`; a process that ends instead is reported with the end of its log."""

        def settled() -> bool:
            return not self.running or ready()

        try:
            wait_until(settled, f"{self.name} is ready", timeout_seconds)
        except SandboxError as error:
            raise SandboxError(f"{error}\n{self.log_tail()}") from None
        if not self.running:
            raise SandboxError(f"{self.name} ended instead of getting ready:\n{self.log_tail()}")

    def wait_ended(self, timeout_seconds: float) -> bool:
        """Whether it has ended within the time."""
        if self._popen is None:
            return True
        try:
            self._popen.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it runs."""
        # An interrupt may have come between the order to start it and the start.
        _spawner.submit(int).result()
        if self._popen is not None:
            self._popen.send_signal(number)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """SIGTERM, and SIGKILL when that is not obeyed in time."""
        self.signal(signal.SIGTERM)
        if not self.wait_ended(grace_seconds):
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self.signal(signal.SIGKILL)
        self.wait_ended(START_TIMEOUT_SECONDS)

    def log_text(self) -> str:
        """All it has written so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_tail(self) -> str:
        """The last lines of the log, for error messages."""
        return "\n".join(self.log_text().splitlines()[-_TAIL_LINES:])


def child_of(pid: int) -> int | None:
    """A child of a process; of `unshare`, for instance, which passes no signals on."""
    return next((child for child, parent in parents().items() if parent == pid), None)


def parents() -> dict[int, int]:
    """All processes, each with its parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            found[int(entry.name)] = int(fields[1])
    return found


def descendants(pid: int) -> list[int]:
    """Its children, their children, and so on."""
    found, tree = [pid], parents()
    for each in found:
        found += [child for child, parent in tree.items() if parent == each]
    return found[1:]


def alive(pid: int) -> bool:
    """Whether a process with this id exists and is more than a zombie."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def _stat(pid: int) -> list[str]:
    try:
        # The command, second and in brackets, may hold anything: split after its last bracket.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal; a process that is gone is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
