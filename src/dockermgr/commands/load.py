"""`dockermgr load`: brings the images of a `docker save` archive into the engine, from a file or from S3."""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from dockermgr.caller import calling_component
from dockermgr.commands.pull import seconds
from dockermgr.errors import DockermgrError, ExitCode
from dockermgr.reference import InvalidReference, Reference, parse_reference, parse_uri

if TYPE_CHECKING:
    from dockermgr.cancellation import Cancellation
    from dockermgr.config import ImageSpec
    from dockermgr.errand import Report
    from dockermgr.s3 import S3Address

HELP = "load images from an archive of docker save"

WIND_DOWN_SECONDS = 3.0
"""For the engine to throw away what it has got of an archive, before its connection is cut."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "place",
        type=_place,
        metavar="FILE|s3://BUCKET/KEY",
        help="the archive: plain, or compressed with gzip or zstd",
    )
    parser.add_argument(
        "--sha256",
        type=_sha256,
        metavar="H",
        help="the archive's checksum: nothing of an archive with another one is loaded",
    )
    parser.add_argument("--tag", type=_tag, metavar="T", help="one more name for the image")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=0.0,
        metavar="S",
        help="seconds after which to give up; without it, only an engine that is away ends it",
    )
    parser.add_argument("--json", action="store_true", help="one status object per line")


def _place(text: str) -> Path | S3Address:
    from dockermgr.s3 import SCHEME, parse_s3

    if text.startswith(SCHEME):
        try:
            return parse_s3(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    if not text or re.match(r"[A-Za-z0-9+.-]+:/", text):
        raise argparse.ArgumentTypeError(f"{text!r}: write a file's path, or s3://bucket/key")
    return Path(text)


def _sha256(text: str) -> str:
    found = re.fullmatch(r"(?:sha256:)?([0-9a-f]{64})", text.strip().lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: write the 64 digits that sha256sum prints")
    return found[1]


def _tag(text: str) -> Reference:
    try:
        found = parse_uri(text) if text.lower().startswith("docker:") else parse_reference(text)
    except InvalidReference as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if found.digest:
        raise argparse.ArgumentTypeError(f"{text!r}: a digest cannot be given to an image")
    return found


def run(arguments: argparse.Namespace) -> int:
    """Loads the archive, unless its images are there."""
    from dockermgr.batch import Batch
    from dockermgr.config import ImageSpec
    from dockermgr.engine_load import LoadingEngine
    from dockermgr.handover import taken_over
    from dockermgr.loading import Load, Loaded, Order
    from dockermgr.locks import ImageLocks
    from dockermgr.output import output_for
    from dockermgr.redact import configure_logging, redact
    from dockermgr.state import State, home_folder

    configure_logging(logging.DEBUG if arguments.verbose else logging.CRITICAL)
    output = output_for(sys.stdout, as_json=arguments.json, component=calling_component())
    order = Order(arguments.place, arguments.sha256 or "", arguments.tag)
    batch = Batch([ImageSpec(str(arguments.place))], output.show)
    engine, home = LoadingEngine(), home_folder()
    state, locks, config = State(home), ImageLocks(home / "locks"), taken_over(home)
    received: list[int] = []
    loaded: list[Loaded] = []
    ended = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        received.append(number)
        batch.stop()
        # Whoever waits for S3 or for the engine is not woken.
        last = threading.Timer(WIND_DOWN_SECONDS, os._exit, [128 + number])
        last.daemon = True
        last.start()

    def ensure(spec: ImageSpec, report: Report, cancellation: Cancellation) -> None:  # noqa: ARG001
        try:
            loaded.append(Load(order, engine, state, locks, config, report, cancellation).run())
        finally:
            ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if not arguments.timeout:
        try:
            engine.info()
        except DockermgrError as error:
            print(f"dockermgr: {redact(str(error))}", file=sys.stderr)
            return ExitCode.ENGINE
    code: int = batch.run_each(ensure, arguments.timeout)
    ended.wait(WIND_DOWN_SECONDS)
    output.close()
    if received:
        print("dockermgr: stopped", file=sys.stderr)
        code = 128 + received[0]
    else:
        for place, problem in batch.unfinished():
            reason = f"; the last error was {problem}" if problem else ""
            print(redact(f"dockermgr: time ran out for {place}{reason}"), file=sys.stderr)
    if code == ExitCode.DONE and not arguments.json:
        for image in loaded[0].images:
            names = ", ".join(image.tags) or "image without a name"
            print(
                f"{'already there' if loaded[0].already else 'Loaded'}: {names} ({image.image_id})"
            )
    state.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a thread may still wait for an engine that never answers.
    os._exit(code)
