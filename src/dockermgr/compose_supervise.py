"""Stays with Compose until its containers have ended: what `dockermgr compose up` becomes."""

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
from dockermgr.engine_http import EngineAway, EngineHttp
from dockermgr.forwarder import forward
from dockermgr.passthrough import TES_URI
from dockermgr.successor import HEEDED, inherited, succeed

_WATCHED = (*HEEDED, signal.SIGCHLD)
_AGAIN_SECONDS = 0.1
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
        allowed = _Containers(plan.engine).include
        environment[TES_URI] = forward(environment[TES_URI], allowed)
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
    """Compose gives each container the grace; past it all that are left are removed."""
    try:
        subprocess.run(
            plan.down,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=GRACE_SECONDS + _AGAIN_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        # One after another, each with a grace of its own, they may take longer than there is time.
        containers = _Containers(plan.engine)
        _say(f"{plan.name} is not down in time: removing its containers")
        containers.remove()


class _Containers:
    """Those that we supervise, found by their label."""

    def __init__(self, engine: str) -> None:
        self._engine = EngineHttp(engine)
        label = f"{SUPERVISOR_LABEL}={Supervisor.this_process()}"
        query = urllib.parse.urlencode({"all": 1, "filters": json.dumps({"label": [label]})})
        self._path = f"/containers/json?{query}"
        self._addresses: set[str] = set()

    def remove(self) -> None:
        """Kills and removes all of them; an engine that is away leaves that to the service."""
        try:
            found = self._engine.ask("GET", self._path, _MARGIN_SECONDS).content
            for container in found if isinstance(found, list) else []:
                self._engine.ask(
                    "DELETE", f"/containers/{container['Id']}?force=1", _MARGIN_SECONDS
                )
        except EngineAway as error:
            _say(str(error))

    def include(self, address: str) -> bool:
        """Whether one has that address: nobody else is given credentials.

        The engine is asked again for one that is not known yet.
        """
        ends_at = time.monotonic() + _MARGIN_SECONDS
        # The engine lists a container a moment after it has begun to run.
        while address not in self._addresses and time.monotonic() < ends_at:
            try:
                found = self._engine.ask("GET", self._path, _MARGIN_SECONDS)
            except EngineAway:
                return False
            self._addresses = set(_addresses(found.content))
            if address not in self._addresses:
                time.sleep(_AGAIN_SECONDS)
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
