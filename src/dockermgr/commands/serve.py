"""`dockermgr serve`: the component itself, started by the nucleus."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading

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

    # Written to by a signal as well, so that one which comes just before the wait ends it, too: a lock
    # that is waited for without limit would not hear of it.
    heard, said = os.pipe()
    os.set_blocking(said, False)
    signal.set_wakeup_fd(said)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    codes: list[int] = []

    def serve() -> None:
        try:
            codes.append(serving.run())
        finally:
            os.write(said, b"\0")

    loop = threading.Thread(target=serve, name="loop", daemon=True)
    loop.start()
    received = os.read(heard, 1)[0]
    if received:
        serving.stop()
        loop.join(STOP_SECONDS)
    logging.getLogger(__name__).info("ended signal=%s", received or None)
    if received:
        _die_of(received)
    sys.stderr.flush()
    # Not sys.exit: threads of the SDKs may still wait for somebody who never answers.
    os._exit(codes[0] if codes else ExitCode.FAILED)


def _die_of(number: int) -> None:
    """Ends as the signal would have ended us: a shell sees 143, and systemd a clean stop."""
    sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
