"""`dockermgr compose`: the images of Compose files through the manager, then Compose itself."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from dockermgr import compose_supervise
from dockermgr.commands.pull import policy
from dockermgr.containers import ContainerError
from dockermgr.errors import ENGINE_CODES, DockermgrError, ExitCode
from dockermgr.passthrough import (
    EVERY_SERVICE,
    CannotPass,
    Feature,
    Passthrough,
    parse_service_features,
)

HELP = "pull the images of a Compose file with the device's credentials, then run Compose"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "-f", "--file", action="append", default=[], metavar="FILE|s3://…", help="Compose file"
    )
    parser.add_argument(
        "-p", "--project-name", metavar="NAME", help="default: made of the component's name"
    )
    parser.add_argument("--profile", action="append", default=[], metavar="P")
    parser.add_argument("--env-file", default="", metavar="FILE", help="values of variables")
    parser.add_argument(
        "--pass",
        dest="features",
        type=_features,
        action="append",
        default=[],
        metavar="[SERVICE=]FEATURES",
        help="what of Greengrass all services get, or one: "
        + ", ".join(feature.value for feature in Feature),
    )
    parser.add_argument("--policy", type=policy, metavar="P", help="as for pull")
    parser.add_argument("verb", choices=("up", "down", "pull"))
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="…", help="for Compose's own up or down"
    )


def _features(text: str) -> tuple[str, list[Feature]]:
    try:
        return parse_service_features(text)
    except CannotPass as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(arguments: argparse.Namespace) -> int:
    """Compose's own exit code for `up` and `down`; 2 to 5 for failures before it."""
    try:
        plan = compose_supervise.taken_over()
        return compose_supervise.supervise(plan) if plan is not None else _start(arguments)
    except (ContainerError, CannotPass) as error:
        sys.stderr.write(f"dockermgr: {error}\n")
        return ExitCode.USAGE


def _start(arguments: argparse.Namespace) -> int:
    """All that comes before Compose; for `up` it never returns."""
    from dockermgr import compose_up
    from dockermgr.compose_program import find_compose
    from dockermgr.engine import DEFAULT_SOCKET
    from dockermgr.redact import configure_logging, redact

    configure_logging(10 if arguments.verbose else 50)
    # Compose follows its user's context otherwise, and may speak to another engine.
    environment = {"DOCKER_HOST": DEFAULT_SOCKET, **os.environ}
    try:
        program = find_compose(environment)
        project = compose_up.project_of(
            arguments.file, arguments.project_name, arguments.profile, arguments.env_file
        )
        if arguments.verb == "down":
            command = [*program.command, *project.options(), "down", *arguments.words]
            return subprocess.run(command, env=environment, check=False).returncode
        services = compose_up.services_of(program, project, arguments.policy, environment)
        given = _given(arguments.features, [service.name for service in services])
        fetch = compose_up.fetch_images(services)
        if arguments.verb == "pull":
            fetch.leave(0)
        compose_up.go_up(program, project, services, given, fetch, arguments.words, environment)
    except DockermgrError as error:
        sys.stderr.write(f"dockermgr: {redact(str(error))}\n")
        return ExitCode.ENGINE if error.code in ENGINE_CODES else ExitCode.USAGE


def _given(
    asked: Sequence[tuple[str, list[Feature]]], services: Sequence[str]
) -> dict[str, Passthrough]:
    """What each service gets. Raises CannotPass."""
    from dockermgr.passing import pass_from_here

    for service, _ in asked:
        if service not in (EVERY_SERVICE, *services):
            raise CannotPass(f"--pass {service}=…: the services are {', '.join(services)}")
    return {
        name: pass_from_here(
            [f for service, features in asked if service in (EVERY_SERVICE, name) for f in features]
        )
        for name in services
    }
