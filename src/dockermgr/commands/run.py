"""`dockermgr run`: brings an image here, then runs it in the foreground, from a lifecycle script."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dockermgr import supervise
from dockermgr.containers import (
    COMPONENT_LABEL,
    SUPERVISOR_LABEL,
    VERSION_LABEL,
    ContainerError,
    Supervisor,
    component_version,
)
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.passing import pass_from_here
from dockermgr.passthrough import (
    FORWARD_NETWORK,
    CannotPass,
    Feature,
    Passthrough,
    docker_flags,
    parse_features,
)
from dockermgr.run_arguments import RunWords, WrongWords, image_of, read_words

if TYPE_CHECKING:
    from dockermgr.engine_containers import Containers
    from dockermgr.fetch import Fetch
    from dockermgr.policy import PullPolicy

HELP = "pull an image if needed and run it in the foreground, with every flag of docker run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.usage = (
        "dockermgr run [--pass FEATURES] [--policy P] [--name N] URI [docker run flags…]"
        " [-- command…]"
    )
    parser.add_argument(
        "--pass",
        dest="features",
        type=_features,
        action="extend",
        default=[],
        metavar="FEATURES",
        help="what of Greengrass the container gets: " + ", ".join(f.value for f in Feature),
    )
    parser.add_argument("--policy", type=_policy, metavar="P", help="as for pull")
    parser.add_argument("--name", help="the container's name (default: the component's)")
    # One argument and not two: argparse would lose the -- between them.
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="URI …", help="image, flags, -- and command"
    )
    # All that comes from here is 125, as with docker: other codes are the container's own.
    parser.exit = _exit  # type: ignore[method-assign]


def _exit(status: int = 0, message: str | None = None) -> NoReturn:
    sys.stderr.write(message or "")
    raise SystemExit(supervise.OWN_FAILURE if status else 0)


def _policy(text: str) -> PullPolicy:
    # With what pulling takes: not for the process that stays.
    from dockermgr.commands.pull import policy

    return policy(text)


def _features(text: str) -> list[Feature]:
    try:
        return parse_features(text)
    except CannotPass as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(arguments: argparse.Namespace) -> int:
    """The container's own exit code, or 125 for a failure before or around it."""
    try:
        plan = supervise.taken_over()
        return supervise.supervise(plan) if plan is not None else _start(arguments)
    except (DockermgrError, ContainerError, CannotPass, WrongWords) as error:
        from dockermgr.redact import redact

        sys.stderr.write(f"dockermgr: {redact(str(error))}\n")
        return supervise.OWN_FAILURE


def _start(arguments: argparse.Namespace) -> NoReturn:
    """All that comes before the container; never returns."""
    from dockermgr.config import ImageSpec
    from dockermgr.reconcile import to_request

    # Its own error first: in docker's order of words, the command follows without `--`.
    reference = to_request(ImageSpec(image_of(arguments.words)), None).reference
    words = read_words(arguments.words, arguments.name)
    docker = shutil.which("docker")
    if docker is None:
        raise ContainerError(
            "there is no docker command on PATH, which runs containers; install it (Debian:"
            " docker.io or docker-cli)"
        )
    from dockermgr.caller import calling_component
    from dockermgr.engine_containers import Containers
    from dockermgr.fetch import Fetch
    from dockermgr.locks import ImageLocks
    from dockermgr.output import output_for
    from dockermgr.redact import configure_logging
    from dockermgr.run_lock import take_over
    from dockermgr.state import home_folder

    configure_logging(10 if arguments.verbose else 50)
    component = calling_component()
    spec = ImageSpec(words.uri, arguments.policy, words.platform)
    given = _given(arguments.features, words)
    # On standard error: standard output is the container's own.
    fetch = Fetch([spec], output_for(sys.stderr, as_json=False, component=component), component)
    name = words.name or component or f"{reference.repository.rpartition('/')[2]}-{os.getpid()}"
    me = Supervisor.this_process()
    lock = take_over(
        ImageLocks(home_folder() / "locks"),
        f"{component} {name}".strip(),
        me,
        lambda: bool(fetch.received),
        _say,
    )
    _ask_engine(fetch)
    code = fetch.run(0)
    if code or fetch.received:
        fetch.leave(supervise.OWN_FAILURE)
    containers = Containers(fetch.parts.engine.base_url)
    _remove_leftovers(containers, component, name)
    if given.network == FORWARD_NETWORK:
        containers.ensure_forward_network()
    for warning in given.warnings:
        _say(f"warning: {warning}")
    labels = {
        COMPONENT_LABEL: component,
        VERSION_LABEL: component_version(component, Path.cwd()),
        SUPERVISOR_LABEL: str(me),
    }
    selector = f"@{reference.digest}" if reference.digest else f":{reference.effective_tag}"
    plan = supervise.Plan(
        docker,
        (
            *("create", "--init", "--rm", "--name", name),
            *(f"--label={label}={value}" for label, value in labels.items() if value),
            *docker_flags(given),
            *words.flags,
            reference.familiar_name + selector,
            *words.command,
        ),
        engine=containers.base_url,
        name=name,
        kept=words.kept,
        lock=lock,
        forward=given.network == FORWARD_NETWORK,
    )
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    if fetch.received:
        fetch.leave(0)
    # The command line follows its user's context otherwise, and may speak to another engine.
    environment = {**os.environ, **given.variables, "DOCKER_HOST": containers.base_url}
    supervise.hand_over(plan, environment)


def _ask_engine(fetch: Fetch) -> None:
    """An engine that is away is waited for: the device may still be booting."""
    try:
        fetch.ask_engine()
    except DockermgrError as error:
        if error.code is not ErrorCode.DOCKER_SERVICE_UNAVAILABLE:
            raise


def _given(features: list[Feature], words: RunWords) -> Passthrough:
    given = pass_from_here(features)
    others = set(words.networks) - {given.network}
    if given.network == "host" and others:
        raise CannotPass(
            f"--network {others.pop()}: what is passed is reached over the host's network; drop it,"
            " or pass tes=forward"
        )
    return given


def _remove_leftovers(containers: Containers, component: str, name: str) -> None:
    """What an earlier life of the component left; the lock says that nobody supervises it."""
    for container in containers.supervised():
        if container.component == component and (container.name == name or container.is_orphan):
            _say(f"removing a container of an earlier run: {container.name}")
            containers.stop(container)
            containers.remove(container)


def _say(text: str) -> None:
    sys.stderr.write(f"dockermgr: {text}\n")
