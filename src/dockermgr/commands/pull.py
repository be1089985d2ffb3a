"""`dockermgr pull`: brings images here, from a shell or a component's lifecycle script."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from dockermgr.config import ImageSpec
from dockermgr.errors import DockermgrError, ExitCode
from dockermgr.policy import PullPolicy

HELP = "pull images, with retries and the device's own credentials"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("uris", nargs="+", metavar="URI", help="docker:<image>")
    parser.add_argument(
        "--policy",
        type=_policy,
        metavar="P",
        help="Always, IfNotPresent or Never (default: Always for latest, else IfNotPresent)",
    )
    parser.add_argument("--platform", metavar="P", help="for instance linux/arm64")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=0.0,
        metavar="S",
        help="seconds after which to give up; without it, only an engine that is away ends it",
    )
    parser.add_argument("--json", action="store_true", help="one status object per line")


def _policy(text: str) -> PullPolicy:
    for policy in PullPolicy:
        if policy.value.lower() == text.lower():
            return policy
    raise argparse.ArgumentTypeError(f"{text!r}: write Always, IfNotPresent or Never")


def seconds(text: str) -> float:
    """An argument that is a number of seconds; 0 is no limit."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: write a number of seconds, 0 for no limit")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Pulls all URIs, several at once; the exit code speaks for the worst of them."""
    from dockermgr.assembly import assemble_for_command  # the docker SDK costs 70 ms
    from dockermgr.batch import Batch
    from dockermgr.listing import Listing
    from dockermgr.output import output_for
    from dockermgr.redact import configure_logging, redact

    configure_logging(logging.DEBUG if arguments.verbose else logging.CRITICAL)
    component = calling_component()
    output = output_for(sys.stdout, as_json=arguments.json, component=component)
    specs = [ImageSpec(uri, arguments.policy, arguments.platform) for uri in arguments.uris]
    batch = Batch(dict.fromkeys(specs), output.show)
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        received.append(number)
        parts.tokens.stop()
        batch.stop()

    parts = assemble_for_command(component)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    listing = Listing(parts.engine)
    if not arguments.timeout:
        try:
            listing.load()
        except DockermgrError as error:
            print(f"dockermgr: {redact(str(error))}", file=sys.stderr)
            return ExitCode.ENGINE
    code: int = batch.run(parts.puller, listing, arguments.timeout)
    output.close()
    if received:
        print("dockermgr: stopped", file=sys.stderr)
        code = 128 + received[0]
    else:
        for uri, problem in batch.unfinished():
            reason = f"; the last error was {problem}" if problem else ""
            print(redact(f"dockermgr: time ran out for {uri}{reason}"), file=sys.stderr)
    parts.state.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a thread may still wait for an engine that never answers.
    os._exit(code)


def calling_component() -> str:
    """A nucleus runs a component's scripts in the work folder that is named after it."""
    return Path.cwd().name if os.environ.get("SVCUID") else ""
