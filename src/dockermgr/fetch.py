"""The images that one command needs: brought here, with words for people, until somebody says stop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from types import FrameType
from typing import NoReturn

from dockermgr.assembly import assemble_for_command
from dockermgr.batch import Batch
from dockermgr.config import ImageSpec
from dockermgr.listing import Listing
from dockermgr.output import Output
from dockermgr.redact import redact


class Fetch:
    """Pulls the images of one command; SIGINT and SIGTERM end it, and are kept in `received`.

    Raises COMPONENT_CONFIGURATION_NOT_VALID.
    """

    def __init__(self, specs: Iterable[ImageSpec], output: Output, component: str) -> None:
        self.received: list[int] = []
        self._output = output
        self._batch = Batch(dict.fromkeys(specs), output.show)
        self.parts = assemble_for_command(component)
        self._listing = Listing(self.parts.engine)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.received.append(number)
        self.parts.tokens.stop()
        self._batch.stop()

    def ask_engine(self) -> None:
        """Raises what keeps the engine from answering, which `run` would wait out."""
        self._listing.load()

    def run(self, timeout_seconds: float) -> int:
        """Until all are here, or time is over (0: without limit); the exit code for the worst of them."""
        code: int = self._batch.run(self.parts.puller, self._listing, timeout_seconds)
        self._output.close()
        if not self.received:
            for uri, problem in self._batch.unfinished():
                reason = f"; the last error was {problem}" if problem else ""
                sys.stderr.write(redact(f"dockermgr: time ran out for {uri}{reason}\n"))
        self.parts.state.close()
        return code

    def leave(self, code: int) -> NoReturn:
        """Ends the process with `code`, or as the signal that was received wants it."""
        if self.received:
            sys.stderr.write("dockermgr: stopped\n")
            code = 128 + self.received[0]
        sys.stdout.flush()
        # Not sys.exit: a thread may still wait for an engine that never answers.
        os._exit(code)
