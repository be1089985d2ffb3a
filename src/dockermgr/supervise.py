"""Stays with one container until it has ended: what `dockermgr run` becomes once the image is there.

It replaces the process that pulled (see `hand_over`), so that for as long as the container runs
there is none of the SDKs in memory. The docker command line does the running, with every flag it has.
Signals are blocked in it, which Go's runtime respects: nuclei signal whole process trees at once,
and the container is to be told once, by us.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from dataclasses import asdict, dataclass
from typing import NoReturn

from dockermgr.containers import GRACE_SECONDS, SUPERVISOR_LABEL, ContainerError, Supervisor
from dockermgr.forwarder import Forwarder
from dockermgr.passthrough import FORWARD_ADDRESS, TES_URI, forwarded

PLAN_VARIABLE = "DOCKERMGR_RUN_PLAN"
OWN_FAILURE = 125
"""As `docker run` has it for failures that are not the container's."""
_HEEDED = (signal.SIGTERM, signal.SIGINT)
_WATCHED = (*_HEEDED, signal.SIGCHLD)
_ASK_SECONDS = 2.0
"""For one question to the engine; with the grace, all of a stop stays below the nucleus's 15 s."""
_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run: nothing secret, since values are in the environment."""

    docker: str
    """The program that answers questions."""
    command: tuple[str, ...]
    """What runs for as long as the containers: `docker run …`, or Compose's `up`."""
    name: str
    kept: bool
    """The container is not removed when it has ended."""
    lock: int | None
    """An open file, held for as long as this process lives."""
    forward: bool
    """Whether the token exchange service is to be reached through a forwarder."""
    down: tuple[str, ...] = ()
    """What ends the containers of Compose; a single one is told by its signal."""


def hand_over(plan: Plan, environment: dict[str, str]) -> NoReturn:
    """Becomes a fresh process of the same command line, with the same id, that carries out `plan`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
    paper = os.memfd_create("plan", 0)
    os.write(paper, json.dumps(asdict(plan)).encode())
    os.lseek(paper, 0, os.SEEK_SET)
    if plan.lock is not None:
        os.set_inheritable(plan.lock, True)
    program = sys.executable or sys.orig_argv[0]
    os.execve(program, sys.orig_argv, {**environment, PLAN_VARIABLE: str(paper)})  # noqa: S606


def taken_over() -> Plan | None:
    """The plan that this process was made for."""
    paper = os.environ.pop(PLAN_VARIABLE, "")
    if not paper:
        return None
    with open(int(paper), encoding="utf-8") as file:  # noqa: PTH123  # an open file's number
        plan = json.load(file)
    return Plan(**{**plan, "command": tuple(plan["command"]), "down": tuple(plan["down"])})


def supervise(plan: Plan) -> int:
    """Runs the container to its end; returns its exit code, or OWN_FAILURE. Raises ContainerError."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    if plan.lock is not None:
        os.set_inheritable(plan.lock, False)  # it is ours, not docker's
    return (_ComposeSupervision if plan.down else _Supervision)(plan).run()


class _Supervision:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._environment = dict(os.environ)
        self._label = f"label={SUPERVISOR_LABEL}={Supervisor.this_process()}"
        self._peers: set[str] = set()
        self._is_down = False

    def run(self) -> int:
        if self._plan.forward:
            self._environment[TES_URI] = self._forward(self._environment[TES_URI])
        try:
            child = subprocess.Popen(self._plan.command, env=self._environment)
        except OSError as error:
            raise ContainerError(f"{self._plan.command[0]} cannot be started: {error}") from error
        number = _wait(child, None)
        if number is not None:
            self._stop(child, number)
        code = child.returncode
        self._sweep()
        if code is None or code < 0:
            _say(f"the docker command of {self._plan.name} was killed")
            return OWN_FAILURE
        return int(code)

    def _stop(self, child: subprocess.Popen[bytes], number: int) -> None:
        """Tells the container, once, and waits; then kills it."""
        _say(f"{signal.Signals(number).name}: stopping {self._plan.name}")
        ends_at = time.monotonic() + GRACE_SECONDS
        while child.poll() is None and time.monotonic() < ends_at:
            running = self._docker("ps", "--quiet", "--filter", self._label)
            if running and self._signal(running, number):
                break
            # It is being made: docker starts it in a moment.
            _wait(child, _AGAIN_SECONDS, heed=False)
        _wait(child, ends_at - time.monotonic(), heed=False)
        if child.poll() is None:
            _say(f"{self._plan.name} did not end within {GRACE_SECONDS} s: killing it")
            self._docker("kill", *self._docker("ps", "--quiet", "--filter", self._label))
            _wait(child, _ASK_SECONDS, heed=False)
        if child.poll() is None:
            child.kill()  # the engine does not answer: the service sees to the container
            child.wait()

    def _signal(self, running: list[str], number: int) -> bool:
        name = signal.Signals(number).name
        if number == signal.SIGTERM:
            # As `docker stop` does: an image may name another signal for its end.
            own = self._docker("inspect", "--format", "{{.Config.StopSignal}}", *running)
            name = own[0] if own else name
        return bool(self._docker("kill", "--signal", name, *running))

    def _sweep(self) -> None:
        """What is left when docker has ended before the container: detached from, or killed."""
        left = self._docker("ps", "--quiet", "--all", "--filter", self._label)
        if left and self._plan.kept:
            self._docker("kill", *left)
        elif left:
            self._docker("rm", "--force", *left)

    def _docker(self, *arguments: str) -> list[str]:
        """The words that docker prints; none when it fails."""
        try:
            done = subprocess.run(
                [self._plan.docker, *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_ASK_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return []
        return done.stdout.decode("utf-8", "replace").split() if done.returncode == 0 else []

    def _forward(self, uri: str) -> str:
        parts = urllib.parse.urlsplit(uri)
        target = (parts.hostname or "localhost", parts.port or 80)
        try:
            forwarder = Forwarder(FORWARD_ADDRESS, target, self._is_ours)
        except OSError as error:
            raise ContainerError(
                f"cannot listen on {FORWARD_ADDRESS} for tes=forward: {error}; does the engine run"
                " on this machine, and has it its bridge networks?"
            ) from error
        return forwarded(uri, forwarder.port)

    def _is_ours(self, address: str) -> bool:
        """Whether our container has that address: nobody else is given credentials."""
        if address not in self._peers:
            running = self._docker("ps", "--quiet", "--filter", self._label)
            template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
            if running:
                self._peers = set(self._docker("inspect", "--format", template, *running))
        return address in self._peers


class _ComposeSupervision(_Supervision):
    """Compose ends its containers itself, in their order: `down` is all that it is told."""

    def _stop(self, child: subprocess.Popen[bytes], number: int) -> None:
        _say(f"{signal.Signals(number).name}: {self._plan.name} goes down")
        self._go_down()
        _wait(child, _ASK_SECONDS, heed=False)
        if child.poll() is None:
            child.kill()
            child.wait()
        # Compose's own code would say how it took the end of its containers.
        child.returncode = 128 + number

    def _sweep(self) -> None:
        self._go_down()

    def _go_down(self) -> None:
        """Compose waits for the grace itself; containers that outlast it are the service's affair."""
        if self._is_down:
            return
        self._is_down = True
        try:
            subprocess.run(
                self._plan.down,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                timeout=GRACE_SECONDS + _ASK_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _say(f"{self._plan.name} is not down: {error}")


def _wait(
    child: subprocess.Popen[bytes], seconds: float | None, *, heed: bool = True
) -> int | None:
    """Until the child ends (None), time is over (None), or somebody wants us to stop: the signal."""
    ends_at = None if seconds is None else time.monotonic() + seconds
    while child.poll() is None:
        remaining = 3600.0 if ends_at is None else ends_at - time.monotonic()
        if remaining <= 0:
            return None
        got = signal.sigtimedwait(_WATCHED, remaining)
        if heed and got is not None and got.si_signo in _HEEDED:
            return got.si_signo
    return None


def _say(text: str) -> None:
    sys.stderr.write(f"dockermgr: {text}\n")
