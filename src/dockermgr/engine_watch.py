"""Watches the engine: whether it is there, removed images, new containers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dockermgr.engine import CREATED, Engine, Removals
from dockermgr.errors import DockermgrError
from dockermgr.status import EngineStatus

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 2.0
"""An engine that is away is looked for this often: one attempt to connect to a local socket."""


class EngineWatch:
    """A thread of its own, since an engine that hangs must hang nobody else.

    `on_status` hears of each change; `on_removals` when images were removed, or may have been while
    nobody watched; `on_containers` the same of new containers.
    """

    def __init__(
        self,
        engine: Engine,
        on_status: Callable[[EngineStatus], None],
        on_removals: Callable[[], None],
        on_containers: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._on_status = on_status
        self._on_removals = on_removals
        self._on_containers = on_containers
        self._stopping = threading.Event()
        self._removals: Removals | None = None
        self._last: EngineStatus | None = None

    def start(self) -> None:
        """Begins to watch; returns at once."""
        threading.Thread(target=self._watch, name="engine", daemon=True).start()

    def stop(self) -> None:
        """Ends the watch soon."""
        self._stopping.set()
        if self._removals is not None:
            self._removals.close()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                info = self._engine.info()
                self._tell(EngineStatus(version=info.version, data_root=info.data_root))
                self._removals = self._engine.removals()
                self._on_removals()
                self._on_containers()
                for action in self._removals:
                    log.debug("the engine did something action=%s", action)
                    if action == CREATED:
                        self._on_containers()
                    else:
                        self._on_removals()
            except DockermgrError as error:
                self._tell(EngineStatus(error=error))
            self._stopping.wait(LOOK_AGAIN_SECONDS)

    def _tell(self, status: EngineStatus) -> None:
        last = self._last
        if last is None or (last.version, _code(last)) != (status.version, _code(status)):
            self._last = status
            self._on_status(status)


def _code(status: EngineStatus) -> str | None:
    return status.error.code.value if status.error is not None else None
