"""Containers whose supervisor is gone: found by their labels, and stopped.

A supervisor that was killed can do nothing any more for its container. A component that starts
again removes an earlier container itself (`commands/run.py`) and makes a new one, so what is stopped
here, by id, is never the new one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading

from dockermgr.containers import Container, ContainerError, Supervisor
from dockermgr.engine_containers import Containers
from dockermgr.errors import DockermgrError

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 300.0
"""Besides the engine's events and the ends of supervisors, which are seen at once."""
AFTER_FAILURE_SECONDS = 30.0


class Orphans:
    """Looks after containers in a thread of its own, since stopping one takes its time."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False

    def start(self) -> None:
        """Begins to look; returns at once."""
        threading.Thread(target=self._run, name="orphans", daemon=True).start()

    def look(self) -> None:
        """There is a new container, or a new engine. From any thread."""
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """Ends the thread soon."""
        self._stopping = True
        self.look()

    def _run(self) -> None:
        while not self._stopping:
            living: list[Supervisor] = []
            wait_seconds = LOOK_AGAIN_SECONDS
            try:
                for container in self._containers.supervised():
                    if container.is_orphan:
                        self._end(container)
                    elif container.supervisor is not None:
                        living.append(container.supervisor)
            except (DockermgrError, ContainerError) as error:
                log.info("cannot look for orphaned containers now error=%s", error)
                wait_seconds = AFTER_FAILURE_SECONDS
            self._wait(living, wait_seconds)

    def _end(self, container: Container) -> None:
        if container.state in {"exited", "dead"}:
            return  # kept on purpose (`--rm=false`), or being removed
        log.warning(
            "stopping a container that nobody supervises any more container=%s component=%s",
            container.name, container.component,
        )  # fmt: skip
        if container.state != "created":
            self._containers.stop(container)
        else:
            self._containers.remove(container)

    def _wait(self, living: list[Supervisor], seconds: float) -> None:
        """Until a supervisor ends, somebody wants us to look, or time is over."""
        with contextlib.ExitStack() as opened:
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            for supervisor in living:
                if not supervisor.is_near:
                    continue
                try:
                    process = os.pidfd_open(supervisor.pid)
                except ProcessLookupError:
                    return
                except OSError:  # a kernel before 5.3
                    seconds = AFTER_FAILURE_SECONDS
                    continue
                opened.callback(os.close, process)
                poll.register(process, select.POLLIN)
            poll.poll(seconds * 1000)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
