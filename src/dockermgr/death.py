"""With which code a container ended, by the engine's events.

Podman forgets that with the container: who waits for one with `--rm` is told 0, whatever it was
(`ErrNoSuchCtr` in its pkg/api/handlers/utils/containers.go, seen with 4.3).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
import urllib.parse

from dockermgr.containers import ContainerError
from dockermgr.engine_http import EngineHttp

_BEFORE_SECONDS = 2
"""The engine repeats what has happened since then, so nothing is missed while we are connecting."""


class Death:
    """Listens from before the container's start on; raises nothing, since there is another answer."""

    def __init__(self, engine: EngineHttp, container: str) -> None:
        self._engine = engine
        filters = json.dumps({"container": [container]})
        since = int(time.time()) - _BEFORE_SECONDS
        self._path = f"/events?{urllib.parse.urlencode({'since': since, 'filters': filters})}"
        self._code: int | None = None
        self._told = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def code(self, seconds: float) -> int | None:
        """The exit code, waiting for the engine's word; None when there is none in that time."""
        self._told.wait(seconds)
        return self._code

    def _listen(self) -> None:
        # An engine that is gone, or says it in other words, is asked otherwise as well.
        with contextlib.suppress(
            *(ContainerError, OSError, http.client.HTTPException),
            *(ValueError, KeyError, TypeError, AttributeError),
        ):
            response = self._engine.begin("GET", self._path).getresponse()
            while self._code is None and (line := response.readline()):
                event = json.loads(line)
                if event.get("Action") == "die":
                    self._code = int(event["Actor"]["Attributes"]["exitCode"])
        self._told.set()
