"""Fetches an ECR token in a child process (see `ecr`), with a time limit and a way to stop it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from dockermgr.ecr import PARENT_VARIABLE, EcrToken, EndpointAwayError
from dockermgr.errors import DockermgrError, ErrorCode, Retry, Stopped

TIMEOUT_SECONDS = 120.0
"""More than the longest honest way: 35 s for TES, 15 + 30 s for ECR, and a slow start of Python."""


class TokenProcess:
    """Runs `python -m dockermgr.ecr`; any number of threads may call `fetch`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._away: dict[tuple[str, bool], str] = {}
        """Endpoints that the last child could not reach: the next one need not start boto3 to see."""

    def fetch(self, region: str, *, fips: bool) -> EcrToken:
        """A fresh token of `region`.

        Raises what `ecr.fetch_token` raises, and `Stopped` after `stop`.
        """
        arguments = [sys.executable, "-m", "dockermgr.ecr", region, *(["--fips"] if fips else [])]
        if away := self._away.get((region, fips)):
            arguments.append(away)
        with self._lock:
            if self._stopped:
                raise Stopped
            try:
                child = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=_environment(),
                )
            except OSError as error:
                raise _failed(f"no process can be started: {error}") from error
            self._children.add(child)
        try:
            output, complaint = child.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise _failed(f"no ECR token within {TIMEOUT_SECONDS:g} s") from None
        finally:
            with self._lock:
                self._children.discard(child)
                stopped = self._stopped
        if stopped:
            raise Stopped
        try:
            return _parse(output, complaint)
        except EndpointAwayError as error:
            self._away[region, fips] = error.endpoint
            raise

    def stop(self) -> None:
        """Ends the children; from now on `fetch` raises `Stopped`."""
        with self._lock:
            self._stopped = True
            for child in self._children:
                child.kill()


def _environment() -> dict[str, str]:
    """The child finds this very package and what it needs, also in the unpacked artifact."""
    here = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": f"{here}{os.pathsep}{inherited}" if inherited else here,
        PARENT_VARIABLE: str(os.getpid()),
    }


def _parse(output: bytes, complaint: bytes) -> EcrToken:
    try:
        answer = json.loads(output)
        if problem := answer.get("error"):
            if problem.get("away"):
                raise EndpointAwayError(
                    problem["message"], hint=problem["hint"], endpoint=problem["away"]
                )
            raise DockermgrError(
                ErrorCode(problem["code"]),
                problem["message"],
                hint=problem["hint"],
                retry=Retry(problem["retry"]),
            )
        return EcrToken(answer["username"], answer["password"], float(answer["expiresAt"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        last_line = complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise _failed(f"fetching the ECR token broke: {last_line or 'no reason given'}") from error


def _failed(message: str) -> DockermgrError:
    return DockermgrError(
        ErrorCode.GET_ECR_CREDENTIAL_ERROR,
        message,
        hint="is the device short of memory? see the component's log",
        retry=Retry.LIMITED,
    )
