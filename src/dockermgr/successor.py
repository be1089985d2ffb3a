"""Becomes a fresh process that stays with what was started, without all that starting it took.

The SDKs take 30 MB, and containers run for months.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

PLAN_VARIABLE = "DOCKERMGR_RUN_PLAN"
HEEDED = (signal.SIGTERM, signal.SIGINT)
"""What asks us to stop."""


def succeed(
    plan: Mapping[str, object], lock: int | None, environment: Mapping[str, str]
) -> NoReturn:
    """Runs the same command line anew, with the same process id: there `inherited` is the plan.

    `lock` is a file that stays open. Nothing in the plan may be secret, values are in the environment.
    Signals that come meanwhile wait.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
    paper = os.memfd_create("plan", 0)
    os.write(paper, json.dumps({**plan, "lock": lock}).encode())
    os.lseek(paper, 0, os.SEEK_SET)
    if lock is not None:
        os.set_inheritable(lock, True)
    program = sys.executable or sys.orig_argv[0]
    os.execve(program, sys.orig_argv, {**environment, PLAN_VARIABLE: str(paper)})  # noqa: S606


def inherited() -> dict[str, Any] | None:
    """The plan that this process was made for; its lock is not for our children."""
    paper = os.environ.pop(PLAN_VARIABLE, "")
    if not paper:
        return None
    with open(int(paper), encoding="utf-8") as file:  # noqa: PTH123  # an open file's number
        plan: dict[str, Any] = json.load(file)
    if plan["lock"] is not None:
        os.set_inheritable(plan["lock"], False)
    return plan
