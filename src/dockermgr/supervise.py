"""Stays with one container until it has ended: what `dockermgr run` becomes once the image is there.

It replaces the process that pulled (see `hand_over`), so that for as long as the container runs
there is none of the SDKs in memory. The docker command makes the container, with every flag it has,
and is gone before it starts: nuclei signal whole process trees at once, docker would pass its own
signal on to the container, and the container is to be told once.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from dataclasses import asdict, dataclass
from typing import NoReturn

from dockermgr.attachment import Attachment, terminal_size
from dockermgr.containers import GRACE_SECONDS, SUPERVISOR_LABEL, ContainerError, Supervisor
from dockermgr.death import Death
from dockermgr.engine_http import Answer, EngineAway, EngineHttp, Refused
from dockermgr.forwarder import forward
from dockermgr.passthrough import TES_URI
from dockermgr.successor import HEEDED, inherited, succeed

OWN_FAILURE = 125
"""As `docker run` has it for failures that are not the container's."""
_WAKE = signal.SIGUSR1
"""Tells the main thread that the container has ended."""
_WATCHED = (*HEEDED, _WAKE, signal.SIGWINCH)
_ASK_SECONDS = 2.0
"""For one question to the engine; with the grace, all of a stop stays below the nucleus's 15 s."""
_LAST_SECONDS = 0.75
"""The same for what comes after the grace; also for output that is still under way at the end."""
_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run: nothing secret, since values are in the environment."""

    docker: str
    """The program; `arguments` are of its `create`."""
    arguments: tuple[str, ...]
    engine: str
    name: str
    kept: bool
    """The container is not removed when it has ended."""
    lock: int | None
    """An open file, held for as long as this process lives."""
    forward: bool
    """Whether the token exchange service is to be reached through a forwarder."""


def hand_over(plan: Plan, environment: dict[str, str]) -> NoReturn:
    """Becomes the process that carries out `plan`."""
    succeed(asdict(plan), plan.lock, environment)


def taken_over() -> Plan | None:
    """The plan that this process was made for."""
    plan = inherited()
    return Plan(**{**plan, "arguments": tuple(plan["arguments"])}) if plan is not None else None


def supervise(plan: Plan) -> int:
    """Runs the container to its end; returns its exit code, or OWN_FAILURE. Raises ContainerError."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    return _Supervision(plan).run()


class _Supervision:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._environment = dict(os.environ)
        self._engine = EngineHttp(plan.engine)
        self._id = ""
        self._terminal = False
        self._stop_signal = ""
        self._code: int | None = None
        self._failure: _StartError | None = None
        self._ended = threading.Event()
        self._peers: set[str] = set()

    def run(self) -> int:
        if self._plan.forward:
            self._environment[TES_URI] = forward(self._environment[TES_URI], self._is_ours)
        try:
            self._create()
            attachment = self._attach()
            try:
                self._start()
                self._stay()
            finally:
                attachment.end(_LAST_SECONDS)
            if self._failure is not None:
                raise self._failure
        except _StartError as error:
            _say(str(error))
            return error.code
        finally:
            self._sweep()
        if self._code is None:
            raise ContainerError(f"the engine broke off: how {self._plan.name} ended is unknown")
        return self._code

    def _create(self) -> None:
        try:
            done = subprocess.run(
                [self._plan.docker, *self._plan.arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                check=False,
            )
        except OSError as error:
            raise ContainerError(f"{self._plan.docker} cannot be started: {error}") from error
        self._id = done.stdout.decode("ascii", "replace").strip()
        number = _next_signal(0)
        if number in HEEDED:
            raise _StartError("stopped", 128 + number)
        if done.returncode or not self._id:
            raise _StartError(f"docker create ended with {done.returncode}", OWN_FAILURE)

    def _attach(self) -> Attachment:
        config = self._inspect("Config")
        self._terminal, stdin = bool(config.get("Tty")), bool(config.get("OpenStdin"))
        # As `docker stop` has it: an image may name another signal for its end.
        self._stop_signal = str(config.get("StopSignal") or "SIGTERM")
        # Podman says of none that it is to be attached.
        outputs = [f for f in ("stdout", "stderr") if config.get(f"Attach{f.capitalize()}")]
        chosen = ["stream", *(outputs or ["stdout", "stderr"]), *(["stdin"] if stdin else [])]
        query = urllib.parse.urlencode(dict.fromkeys(chosen, 1))
        try:
            reader, sink = self._engine.upgrade(f"/containers/{self._id}/attach?{query}")
        except Refused as error:  # Podman looks for the program as early as here
            raise _StartError(f"cannot attach: {error}", _start_code(str(error))) from error
        return Attachment(reader, sink, terminal=self._terminal, stdin=stdin)

    def _start(self) -> None:
        """Returns at once: a slow start is not to keep us from hearing signals."""
        condition = "next-exit" if self._plan.kept else "removed"
        death = Death(self._engine, self._id)
        asked = self._engine.begin("POST", f"/containers/{self._id}/wait?condition={condition}")
        waiting, answered = threading.Event(), threading.Event()

        def await_end() -> None:
            try:
                response = asked.getresponse()
                waiting.set()
                code = int(json.loads(response.read())["StatusCode"])
                # Also one that could not be started has ended, with a code that says nothing.
                answered.wait(_ASK_SECONDS)
                told = None if self._failure else death.code(_LAST_SECONDS)
                self._code = code if told is None else told
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
                pass  # `run` tells of it
            self._end()

        def start() -> None:
            # Docker answers as soon as it waits, and no end is missed; Podman when it is over.
            waiting.wait(_ASK_SECONDS)
            answer = self._ask("POST", "start", None)
            if answer.good:
                self._resize()
            else:
                self._failure = _StartError(answer.message, _start_code(answer.message))
                self._end()
            answered.set()

        for work in (await_end, start):
            threading.Thread(target=work, daemon=True).start()

    def _end(self) -> None:
        self._ended.set()
        os.kill(os.getpid(), _WAKE)

    def _stay(self) -> None:
        """Until the container has ended, or was made to."""
        number = self._signal_or_end(None)
        if number is None:
            return
        _say(f"{signal.Signals(number).name}: stopping {self._plan.name}")
        ends_at = time.monotonic() + GRACE_SECONDS
        name = "SIGINT" if number == signal.SIGINT else self._stop_signal
        told = False
        while not self._ended.is_set() and (left := ends_at - time.monotonic()) > 0:
            # Refused as long as it is being started.
            told = told or self._ask("POST", f"kill?signal={name}", min(left, _ASK_SECONDS)).good
            self._signal_or_end(ends_at - time.monotonic() if told else _AGAIN_SECONDS)
        if not self._ended.is_set():
            _say(f"{self._plan.name} did not end within {GRACE_SECONDS} s: killing it")
            self._ask("POST", "kill", _LAST_SECONDS)
            self._signal_or_end(_LAST_SECONDS)

    def _signal_or_end(self, seconds: float | None) -> int | None:
        """A signal to heed; None when the container has ended or time is over."""
        ends_at = None if seconds is None else time.monotonic() + seconds
        while not self._ended.is_set():
            left = 3600.0 if ends_at is None else ends_at - time.monotonic()
            if left <= 0:
                break
            number = _next_signal(left)
            if number in HEEDED:
                return number
            if number == signal.SIGWINCH:
                self._resize()
        return None

    def _resize(self) -> None:
        size = terminal_size()
        if size is not None and self._terminal:
            self._ask("POST", f"resize?h={size[0]}&w={size[1]}")

    def _sweep(self) -> None:
        """Nothing of ours is left behind, but what is to be kept."""
        if self._code is not None:
            return
        if not self._id:  # docker was killed, perhaps after it had made one
            label = json.dumps({"label": [f"{SUPERVISOR_LABEL}={Supervisor.this_process()}"]})
            query = urllib.parse.urlencode({"all": 1, "filters": label})
            try:
                found = self._engine.ask("GET", f"/containers/json?{query}", _LAST_SECONDS).content
            except EngineAway:
                return
            self._id = str(found[0]["Id"]) if isinstance(found, list) and found else ""
        if self._id and self._plan.kept:
            self._ask("POST", "kill", _LAST_SECONDS)
        elif self._id:
            self._ask("DELETE", "", _LAST_SECONDS)

    def _ask(self, method: str, what: str, seconds: float | None = _ASK_SECONDS) -> Answer:
        path = f"/containers/{self._id}/{what}" if what else f"/containers/{self._id}?force=1"
        try:
            return self._engine.ask(method, path, seconds)
        except EngineAway as error:
            return Answer(http.client.SERVICE_UNAVAILABLE, {"message": str(error)})

    def _inspect(self, part: str) -> dict[str, object]:
        content = self._ask("GET", "json").content
        found = content.get(part) if isinstance(content, dict) else None
        return found if isinstance(found, dict) else {}

    def _is_ours(self, address: str) -> bool:
        """Whether our container has that address: nobody else is given credentials."""
        if address not in self._peers and self._id:
            networks = self._inspect("NetworkSettings").get("Networks")
            found = networks.values() if isinstance(networks, dict) else ()
            self._peers = {str(network.get("IPAddress")) for network in found}
        return address in self._peers


class _StartError(ContainerError):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _start_code(message: str) -> int:
    """As `docker run` tells a command that is not there (127) or not to be run (126) from the rest."""
    text = message.lower()
    if "executable file not found" in text or "no such file or directory" in text:
        return 127
    return 126 if "permission denied" in text or "is a directory" in text else OWN_FAILURE


def _next_signal(seconds: float) -> int | None:
    """The next signal within so many seconds."""
    got = signal.sigtimedwait(_WATCHED, seconds)
    return got.si_signo if got is not None else None


def _say(text: str) -> None:
    sys.stderr.write(f"dockermgr: {text}\n")
