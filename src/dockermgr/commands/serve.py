"""`dockermgr serve`: the component itself, started by the nucleus."""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import sys
import threading
from types import FrameType

from dockermgr.errors import ExitCode

HELP = "run as the Greengrass component (started by the nucleus)"

DEFAULT_COMPONENT = "io.dockermgr.DockerApplicationManager"
"""Without DOCKERMGR_COMPONENT, by which the recipe says what it is called: no nucleus tells."""
STATUS_REQUEST_TOPIC = "dockermgr/requests/status"
STOP_SECONDS = 1.5
"""Threads that wait for the engine or the nucleus may not hold up the end: SIGTERM ends us within 2 s."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: everything comes from the component's configuration."""
    del parser


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT, or until a first configuration proves wrong."""
    from dockermgr.assembly import Serving  # with awscrt and the docker SDK
    from dockermgr.redact import configure_logging

    configure_logging(logging.DEBUG if arguments.verbose else logging.INFO)
    try:
        component = os.environ.get("DOCKERMGR_COMPONENT") or DEFAULT_COMPONENT
        serving = Serving(component, STATUS_REQUEST_TOPIC)
    except KeyError as error:
        print(
            f"dockermgr: {error.args[0]} is not set; `serve` is started by the Greengrass nucleus."
            " On a command line use `dockermgr pull`.",
            file=sys.stderr,
        )
        return ExitCode.USAGE

    received: list[int] = []
    # Not join: after a signal's handler it waits on. And put is safe in a handler, Event.set is not.
    over: queue.SimpleQueue[None] = queue.SimpleQueue()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        received.append(number)
        serving.stop()
        over.put(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    codes: list[int] = []

    def serve() -> None:
        try:
            codes.append(serving.run())
        finally:
            over.put(None)

    loop = threading.Thread(target=serve, name="loop", daemon=True)
    loop.start()
    over.get()
    loop.join(STOP_SECONDS)
    logging.getLogger(__name__).info("ended signal=%s", received[0] if received else None)
    if received:
        _die_of(received[0])
    sys.stderr.flush()
    # Not sys.exit: threads of the SDKs may still wait for somebody who never answers.
    os._exit(codes[0] if codes else ExitCode.FAILED)


def _die_of(number: int) -> None:
    """Ends as the signal would have ended us: a shell sees 143, and systemd a clean stop."""
    sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
