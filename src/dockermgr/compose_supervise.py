"""Stays with Compose until its containers have ended: what `dockermgr compose up` becomes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.parse
from dataclasses import asdict, dataclass
from typing import NoReturn

from dockermgr.containers import GRACE_SECONDS, SUPERVISOR_LABEL, ContainerError, Supervisor
from dockermgr.engine_http import EngineAway, EngineHttp
from dockermgr.forwarder import forward
from dockermgr.passthrough import TES_URI
from dockermgr.successor import HEEDED, inherited, succeed

_WATCHED = (*HEEDED, signal.SIGCHLD)
_MARGIN_SECONDS = 2.0
"""For Compose itself, before and after the grace; with it a stop stays below the nucleus's 15 s."""


@dataclass(frozen=True, slots=True)
class ComposePlan:
    """What is to be run: nothing secret, since values are in the environment."""

    up: tuple[str, ...]
    down: tuple[str, ...]
    name: str
    engine: str
    """Its address."""
    lock: int | None
    """An open file, held for as long as this process lives."""
    forward: bool
    """Whether the token exchange service is to be reached through a forwarder."""


def hand_over(plan: ComposePlan, environment: dict[str, str]) -> NoReturn:
    """Becomes the process that carries out `plan`."""
    succeed(asdict(plan), plan.lock, environment)


def taken_over() -> ComposePlan | None:
    """The plan that this process was made for."""
    plan = inherited()
    if plan is None:
        return None
    return ComposePlan(**{**plan, "up": tuple(plan["up"]), "down": tuple(plan["down"])})


def supervise(plan: ComposePlan) -> int:
    """Runs `up` to its end, or to a signal; then `down`, so that nothing is left.

    Returns the code of `up`, or that of the signal. Raises ContainerError.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    environment = dict(os.environ)
    if plan.forward:
        peers = _Peers(plan.engine)
        environment[TES_URI] = forward(environment[TES_URI], peers.include)
    try:
        child = subprocess.Popen(plan.up, env=environment)
    except OSError as error:
        raise ContainerError(f"{plan.up[0]} cannot be started: {error}") from error
    number = _wait(child)
    if number is not None:
        _say(f"{signal.Signals(number).name}: {plan.name} goes down")
    _go_down(plan, environment)
    if number is None:
        return child.returncode if child.returncode >= 0 else 128 - child.returncode
    try:
        child.wait(_MARGIN_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    return 128 + number


def _wait(child: subprocess.Popen[bytes]) -> int | None:
    """Until the child has ended, or somebody wants us to stop: the signal."""
    while child.poll() is None:
        got = signal.sigtimedwait(_WATCHED, 3600.0)
        if got is not None and got.si_signo in HEEDED:
            return got.si_signo
    return None


def _go_down(plan: ComposePlan, environment: dict[str, str]) -> None:
    """Compose waits for the grace itself; containers that outlast it are the service's affair."""
    try:
        subprocess.run(
            plan.down,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=GRACE_SECONDS + _MARGIN_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _say(f"{plan.name} is not down: {error}")


class _Peers:
    """The addresses of our containers: nobody else is given credentials."""

    def __init__(self, engine: str) -> None:
        self._engine = EngineHttp(engine)
        label = f"{SUPERVISOR_LABEL}={Supervisor.this_process()}"
        self._query = urllib.parse.urlencode({"filters": json.dumps({"label": [label]})})
        self._addresses: set[str] = set()

    def include(self, address: str) -> bool:
        """Asks the engine again for an address that is not known yet."""
        if address not in self._addresses:
            try:
                found = self._engine.ask("GET", f"/containers/json?{self._query}", _MARGIN_SECONDS)
            except EngineAway:
                return False
            self._addresses = set(_addresses(found.content))
        return address in self._addresses


def _addresses(listing: object) -> list[str]:
    containers = listing if isinstance(listing, list) else []
    return [
        str(network.get("IPAddress"))
        for container in containers
        for network in container["NetworkSettings"]["Networks"].values()
    ]


def _say(text: str) -> None:
    sys.stderr.write(f"dockermgr: {text}\n")
