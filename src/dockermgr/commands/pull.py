"""`dockermgr pull`: brings images here, from a shell or a component's lifecycle script."""

from __future__ import annotations

import argparse
import logging
import sys
import threading

from dockermgr.config import ImageSpec
from dockermgr.errors import DockermgrError, ErrorCode, ExitCode
from dockermgr.policy import PullPolicy

HELP = "pull images, with retries and the device's own credentials"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("uris", nargs="*", metavar="URI", help="docker:<image>")
    parser.add_argument(
        "--recipe",
        metavar="F",
        help="the images of a component's recipe as well: docker: artifacts of the manifest that fits"
        " this device, or --platform, and dockerImages",
    )
    parser.add_argument(
        "--policy",
        type=policy,
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


def policy(text: str) -> PullPolicy:
    """An argument's value, in any letter case."""
    for known in PullPolicy:
        if known.value.lower() == text.lower():
            return known
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


def _specs(arguments: argparse.Namespace) -> list[ImageSpec]:
    """What is asked for; the recipe's own policy and platform are for what the command leaves open."""
    found = [ImageSpec(uri) for uri in arguments.uris]
    if arguments.recipe is not None:
        from dockermgr.recipe_file import images_of  # PyYAML

        try:
            found += images_of(arguments.recipe, arguments.platform)
        except ValueError as error:
            raise DockermgrError(
                ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID, f"{arguments.recipe}: {error}"
            ) from error
    elif not found:
        arguments.parser.error("no image: write docker:<image>, or --recipe FILE")
    policy, platform = arguments.policy, arguments.platform
    return [ImageSpec(s.uri, policy or s.pull_policy, platform or s.platform) for s in found]


def run(arguments: argparse.Namespace) -> int:  # noqa: RET503
    """Pulls all URIs, several at once; the exit code speaks for the worst of them."""
    from dockermgr.caller import calling_component
    from dockermgr.fetch import Fetch  # the docker SDK costs 70 ms
    from dockermgr.output import output_for
    from dockermgr.redact import configure_logging, redact

    configure_logging(logging.DEBUG if arguments.verbose else logging.CRITICAL)
    component = calling_component()
    output = output_for(sys.stdout, as_json=arguments.json, component=component)
    specs = _specs(arguments)
    fetch = Fetch(specs, output, component)
    if not arguments.timeout:
        try:
            fetch.ask_engine()
        except DockermgrError as error:
            print(f"dockermgr: {redact(str(error))}", file=sys.stderr)
            return ExitCode.ENGINE
    code = fetch.run(arguments.timeout)
    fetch.leave(code)
