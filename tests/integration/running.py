"""Runs `dockermgr run` as a component's script does, and looks at what it left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from docker.errors import APIError
from docker.models.containers import Container

from dockermgr.containers import SUPERVISOR_LABEL
from tests.integration.harness import PROJECT, Finished, Harness
from tests.sandbox.images import push_image
from tests.sandbox.processes import Process, parents, wait_until

APP = "com.example.App"
IMAGE = "docker:tool:1.0"
FOREVER = ("--", "sh", "-c", "echo up; while :; do sleep 1; done")
"""It heeds no signal but by dying of it: it is no process 1, thanks to --init."""
STUBBORN = ("--", "sh", "-c", "trap '' TERM INT; echo up; while :; do sleep 1; done")


class Runner:
    """A component on the core device, whose script says `dockermgr run`."""

    def __init__(self, harness: Harness, component: str = APP, *, uses_tes: bool = True) -> None:
        self.harness = harness
        self.component = component
        self.work = harness.core.add_component(component, uses_tes=uses_tes)

    def environment(self, **more: str) -> dict[str, str]:
        """A component's own; home is the manager's, as `bin/dockermgr` sets it."""
        return {
            **self.harness.core.environment(self.component),
            "PYTHONPATH": str(PROJECT / "src"),
            "DOCKERMGR_HOME": str(self.harness.home),
            **more,
        }

    def run(self, *words: str, **environment: str) -> Finished:
        """To its end."""
        done = subprocess.run(
            [sys.executable, "-m", "dockermgr", "run", *words],
            env=self.environment(**environment),
            cwd=self.work,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def running(self, *words: str, **environment: str) -> Iterator[Process]:
        """Started; at the end nothing of it is left."""
        log = self.harness.core.root / f"run-{time.monotonic_ns()}.log"
        process = Process(
            "dockermgr run",
            [sys.executable, "-m", "dockermgr", "run", *words],
            log=log,
            environment=self.environment(**environment),
            folder=self.work,
        )
        process.start()
        try:
            yield process
        finally:
            for pid in tree(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait_ended(30)

    @contextlib.contextmanager
    def up(self, *words: str, **environment: str) -> Iterator[Process]:
        """The same, once the container has said `up`."""
        with self.running(*words, **environment) as process:
            wait_up(process)
            yield process


def wait_up(process: Process) -> None:
    """Until the container says `up`."""
    process.wait_ready(lambda: "\nup\n" in f"\n{process.log_text()}")


def tree(pid: int) -> list[int]:
    """A process and all below it: what a nucleus signals."""
    found = [pid]
    family = parents()
    for one in found:
        found += [child for child, parent in family.items() if parent == one]
    return found


def push(harness: Harness) -> None:
    """The image that all tests run."""
    push_image(harness.device.public, "library/tool", "1.0")


def ours(harness: Harness, *, everything: bool = True) -> list[Container]:
    """The containers that `dockermgr run` made."""
    with harness.device.engine.client() as client:
        return list(
            client.containers.list(
                all=everything, filters={"label": SUPERVISOR_LABEL}, ignore_removed=True
            )
        )


def wait_none(harness: Harness) -> None:
    """Until there is none of them any more."""
    wait_until(lambda: not ours(harness), "the end of all containers", 60)


def clear(harness: Harness) -> None:
    """Removes what a killed run left, and waits for what the engine or the service is removing."""

    def gone() -> bool:
        left = ours(harness)
        for container in left:
            with contextlib.suppress(APIError):  # gone, or about to go
                container.remove(force=True)
        return not left

    wait_until(gone, "the end of all containers", 60)
