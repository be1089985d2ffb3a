"""One component's life in a nucleus: its steps, its states, its failures.

Read from the sources: `Lifecycle.java` and `GenericExternalService.java` of Java; of Lite the systemd
unit that `unit_file_generator.c` writes, and what systemd makes of it. What it leaves out is in
`deployment.py`.
"""

from __future__ import annotations

import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from tests.sandbox import box
from tests.sandbox.core import Core, InstalledComponent
from tests.sandbox.ipc import Dialect
from tests.sandbox.nucleus.states import Limits, State
from tests.sandbox.processes import Process, alive, descendants, send

_Course = Generator[None, None, None]
_Check = Generator[None, None, bool]


class _EndedError(Exception):
    """The component is to go."""


class _DependencyLeftError(Exception):
    """A HARD dependency is not RUNNING any more."""


class Life:
    """Goes on with each `step`, which does not block; one thread calls everything here."""

    def __init__(
        self,
        core: Core,
        component: InstalledComponent,
        limits: Limits,
        may_start: Callable[[], bool],
        say: Callable[[str, str], None],
    ) -> None:
        self.component = component
        self.state = State.NEW
        self.process: Process | None = None
        """Of the step that runs, or ran last."""
        self._core = core
        self._is_lite = core.dialect is Dialect.LITE
        self._limits = limits
        self._may_start = may_start
        self._say = say
        self._reported: list[str] = []
        self._errors: Counter[State] = Counter()
        self._starts = 0
        self._ending = False
        self._bounced = False
        self._again = False
        self._group: Path | None = None
        self._is_noted = True
        self._course = self._live()
        self._gone = False

    @property
    def hard(self) -> list[str]:
        """The components without which it does not run."""
        return [name for name, item in self.component.dependencies.items() if item.hard]

    @property
    def gone(self) -> bool:
        """Whether it came to its end after `end`."""
        return self._gone

    def step(self, reports: Sequence[str]) -> None:
        """Looks at what has happened, `UpdateState` too, and does what is due."""
        for report in reports:
            self.note(f"UpdateState({report})")
            # Lite takes ERRORED and does nothing about it.
            if not (self._is_lite and report == "ERRORED"):
                self._reported.append(report)
        if not self._gone:
            self._gone = next(self._course, self) is self

    def end(self) -> None:
        """Stops it, for good."""
        self._ending = True

    def dependency_left(self) -> None:
        """A HARD dependency left RUNNING: it is stopped. Java starts it again, Lite does not."""
        if self.state in (State.STARTING, State.RUNNING):
            self._bounced = True

    def start_again(self) -> None:
        """Lite: with a deployment starts what was stopped with a dependency; failures are forgotten."""
        self._again = True
        self._starts = 0

    def note(self, text: str) -> None:
        """A line of the transcript."""
        self._say(self.component.name, text)

    def _live(self) -> _Course:
        try:
            yield from self._install()
            while True:
                try:
                    yield from self._serve()
                except _DependencyLeftError:
                    self.note("a HARD dependency is not RUNNING any more")
                    yield from self._stop()
                    if self._is_lite:
                        self._again = False
                        self._enter(State.STOPPED)
                        yield from self._until(lambda: self._again)
                    self._enter(State.INSTALLED)
        except _EndedError:
            yield from self._stop()
            self._enter(State.STOPPED)

    def _install(self) -> _Course:
        while "install" in self.component.steps:
            self._begin("install")
            yield from self._until(lambda: self._code is not None, self._limit("install"))
            if self._code == 0:
                break
            yield from self._fail("install timed out" if self._code is None else "install failed")
        self._starts = 0
        self._enter(State.INSTALLED)

    def _serve(self) -> _Course:
        """From its start until it has failed; what comes otherwise is an exception."""
        yield from self._until(self._may_start)
        step = next((each for each in ("startup", "run") if each in self.component.steps), None)
        if step is None:
            yield from self._rest(State.FINISHED)
            return
        self._enter(State.STARTING)
        self._begin(step)
        if step == "startup":
            in_time = yield from self._until(
                lambda: bool(self._reported) or self._code is not None, self._limit(step)
            )
            if not in_time:
                yield from self._fail("startup timed out")
                return
            if self._code == 0 and not self._reported and self._is_lite:
                # As it was seen: torn down, what it left behind too, and no failure.
                yield from self._stop()
                yield from self._rest(State.FINISHED)
            if "ERRORED" in self._reported or self._code not in (None, 0):
                yield from self._fail("startup failed")
                return
        self._enter(State.RUNNING)
        yield from self._until(
            lambda: (
                "ERRORED" in self._reported
                or (self._code is not None and (step == "run" or self._code != 0))
            )
        )
        if self._code == 0 and "ERRORED" not in self._reported:
            yield from self._stop()
            yield from self._rest(State.FINISHED)
        yield from self._fail(f"{step} failed")

    def _fail(self, why: str) -> _Course:
        """Cleans up; returns when it is to be tried again, or stays BROKEN until it is to go."""
        before = self.state
        self._enter(State.ERRORED, why)
        if not self._is_lite and "recover" in self.component.steps:
            yield from self._run_aside("recover", self._limits.recover_seconds)
        yield from self._stop()
        failures = self._starts if self._is_lite else self._errors[before]
        if failures >= self._limits.failures:
            yield from self._rest(State.BROKEN)
        if self._is_lite:
            pause = self._limits.restart_seconds
            yield from self._until(lambda: False, pause)
        self._enter(State.NEW if before is State.NEW else State.INSTALLED)

    def _rest(self, state: State) -> _Course:
        """Until it is to go."""
        self._enter(state)
        while not self._ending:
            yield
        raise _EndedError

    def _stop(self) -> _Course:
        """SIGTERM, and SIGKILL for what has not ended in time."""
        if self.state in (State.STARTING, State.RUNNING):
            self._enter(State.STOPPING)
        was_up = self.state in (State.STOPPING, State.ERRORED)
        if was_up and not self._is_lite and "shutdown" in self.component.steps:
            yield from self._run_aside("shutdown", self._limits.java_grace_seconds)
        if pids := self._pids():
            yield from self._terminate(pids)
        # Its first thread ends before the others do, and the process with the last.
        yield from self._wait(lambda: self.process is None or not self.process.running)
        self._note_end()

    def _terminate(self, pids: Sequence[int]) -> _Course:
        self.note(f"SIGTERM to {len(pids)} process{'es' if len(pids) > 1 else ''}")
        for pid in pids:
            send(pid, signal.SIGTERM)
        limits = self._limits
        grace = limits.lite_grace_seconds if self._is_lite else limits.java_grace_seconds
        ended = yield from self._wait(lambda: not any(map(alive, [*pids, *self._pids()])), grace)
        if not ended:
            self.note(f"SIGKILL after {grace:g} s")
            for pid in filter(alive, {*pids, *self._pids()}):
                send(pid, signal.SIGKILL)
            yield from self._wait(lambda: not any(map(alive, [*pids, *self._pids()])))

    def _pids(self) -> list[int]:
        """Lite: all of the control group. Java: the tree of the script's process, while that lives."""
        if self._group is not None:
            pids = (self._group / "cgroup.procs").read_text().split()
            return [pid for pid in map(int, pids) if alive(pid)]
        if self.process is not None and self.process.running:
            return [self.process.pid, *filter(alive, descendants(self.process.pid))]
        return []

    def _run_aside(self, step: str, seconds: float) -> _Course:
        process = self._core.process(self.component, step)
        process.start()
        ended = yield from self._wait(lambda: not process.running, seconds)
        self.note(f"{step}: exit {process.exit_code}" if ended else f"{step} timed out")
        if not ended:
            process.kill()

    def _begin(self, step: str) -> None:
        self._reported.clear()
        self._starts += 1
        self.process = self._core.process(self.component, step)
        if self._is_lite:
            self._group = box.make_cgroup(self.component.name)
            join = 'echo $$ > "$1/cgroup.procs" && exec sh -c "$2"'
            script = self.component.steps[step].script
            self.process.arguments = ["sh", "-c", join, "sh", str(self._group), script]
        self.process.start()
        self._is_noted = False
        self.note(f"{step}: process {self.process.pid}")

    @property
    def _code(self) -> int | None:
        """The exit code of the step; None while it runs."""
        code = self.process.exit_code if self.process is not None else None
        if code is not None:
            self._note_end()
        return code

    def _note_end(self) -> None:
        if self.process is not None and not self._is_noted and not self.process.running:
            self._is_noted = True
            self.note(f"exit {self.process.exit_code}")

    def _limit(self, step: str) -> float:
        own = self.component.steps[step].timeout_seconds
        return self._limits.step_seconds if own is None else own

    def _enter(self, state: State, why: str = "") -> None:
        # Java counts errors for each state by itself, and forgets them when it leaves that in order.
        if state is State.ERRORED:
            self._errors[self.state] += 1
        else:
            del self._errors[self.state]
        self.state = state
        self.note(f"{state.value}{': ' if why else ''}{why}")

    def _until(self, condition: Callable[[], bool], seconds: float = math.inf) -> _Check:
        """Whether it came to hold in time. Raises what somebody else wants meanwhile."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self._ending:
                raise _EndedError
            if self._bounced:
                self._bounced = False
                raise _DependencyLeftError
            if time.monotonic() > deadline:
                return False
            yield
        return True

    def _wait(self, condition: Callable[[], bool], seconds: float = math.inf) -> _Check:
        """The same, whatever anybody else wants."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            yield
        return True
