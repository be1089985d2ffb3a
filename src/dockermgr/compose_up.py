"""What `dockermgr compose up` does before Compose itself takes over."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, TypeVar

from dockermgr import compose, compose_supervise
from dockermgr.caller import calling_component
from dockermgr.compose import ComposeService
from dockermgr.compose_program import ComposeProgram, ComposeProject
from dockermgr.containers import (
    COMPONENT_LABEL,
    GRACE_SECONDS,
    SUPERVISOR_LABEL,
    VERSION_LABEL,
    Supervisor,
    component_version,
)
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.fetch import Fetch
from dockermgr.files import replace_text
from dockermgr.handover import taken_over
from dockermgr.locks import ImageLocks
from dockermgr.output import output_for
from dockermgr.passthrough import FORWARD_NETWORK, Passthrough
from dockermgr.policy import PullPolicy
from dockermgr.retry import back_off_seconds, keep_trying
from dockermgr.run_lock import take_over
from dockermgr.state import home_folder

T = TypeVar("T")

_LARGEST_FILE_BYTES = 4_000_000


def project_of(
    files: Sequence[str], name: str | None, profiles: Sequence[str], env_file: str
) -> ComposeProject:
    """The project; its files are here then. Raises what fetching one from S3 raises."""
    name = name or compose.project_name(calling_component())
    files = files or _usual_files()
    here = tuple(
        _from_s3(file, f"{name or 'compose'}-{number}.yaml")
        if file.startswith("s3://")
        else Path(file)
        for number, file in enumerate(files)
    )
    # What was fetched lies in a folder of ours, from where no relative path leads anywhere.
    folder = str(Path.cwd()) if any(file.startswith("s3://") for file in files) else ""
    return ComposeProject(here, name, folder, tuple(profiles), env_file)


def services_of(
    program: ComposeProgram,
    project: ComposeProject,
    policy: PullPolicy | None,
    environment: Mapping[str, str],
) -> tuple[ComposeService, ...]:
    """The services that are to run. Raises COMPONENT_CONFIGURATION_NOT_VALID."""
    asked = (*project.profiles, *environment.get("COMPOSE_PROFILES", "").split(","))
    found = compose.parse_services(program.resolved(project, environment), asked)
    if policy is None:
        return found
    return tuple(
        replace(service, image=service.image and replace(service.image, pull_policy=policy))
        for service in found
    )


def fetch_images(services: Sequence[ComposeService]) -> Fetch:
    """Brings them here; leaves the process when that fails, or somebody says stop."""
    component = calling_component()
    images = [service.image for service in services if service.image is not None]
    # On standard error: standard output is the containers' own.
    fetch = Fetch(images, output_for(sys.stderr, as_json=False, component=component), component)
    code = fetch.run(0)
    if code or fetch.received:
        fetch.leave(code)
    return fetch


def go_up(
    program: ComposeProgram,
    project: ComposeProject,
    services: Sequence[ComposeService],
    given: Mapping[str, Passthrough],
    fetch: Fetch,
    words: Sequence[str],
    environment: Mapping[str, str],
) -> NoReturn:
    """Becomes the process that stays with Compose. Raises ContainerError, CannotPass and ours."""
    component, me = calling_component(), Supervisor.this_process()
    name = project.name or "compose"
    lock = take_over(
        ImageLocks(home_folder() / "locks"),
        f"{component} compose {name}".strip(),
        me,
        lambda: bool(fetch.received),
        _say,
    )
    labels = {
        COMPONENT_LABEL: component,
        VERSION_LABEL: component_version(component, Path.cwd()),
        SUPERVISOR_LABEL: str(me),
    }
    version = compose.declared_version(_first_text(project))
    added = _own_folder() / f"{name}-override.json"
    replace_text(added, compose.override(services, given, labels, version))
    for warning in {warning for each in given.values() for warning in each.warnings}:
        _say(f"warning: {warning}")
    forward = any(each.network == FORWARD_NETWORK for each in given.values())
    if forward:
        from dockermgr.engine_containers import Containers

        Containers(environment["DOCKER_HOST"]).ensure_forward_network()
    whole = replace(project, files=(*project.files, added))
    begun = (*program.command, *whole.options())
    never_pull = () if program.major == 1 else ("--pull", "never")
    plan = compose_supervise.ComposePlan(
        up=(*begun, "up", "--remove-orphans", *never_pull, *words),
        down=(*begun, "down", "--remove-orphans", "--timeout", str(GRACE_SECONDS)),
        name=name,
        engine=environment["DOCKER_HOST"],
        lock=lock,
        forward=forward,
    )
    if fetch.received:
        fetch.leave(0)
    values = {k: v for each in given.values() for k, v in each.variables.items()}
    compose_supervise.hand_over(plan, {**environment, **values})


def _first_text(project: ComposeProject) -> str:
    return project.files[0].read_text(encoding="utf-8") if project.files else ""


def _usual_files() -> list[str]:
    """Where Compose looks in the current folder when it is not told."""
    for stem in ("compose", "docker-compose"):
        for suffix in ("yaml", "yml"):
            if Path(f"{stem}.{suffix}").exists():
                more = (f"{stem}.override.{end}" for end in ("yaml", "yml"))
                return [f"{stem}.{suffix}", *(file for file in more if Path(file).exists())]
    raise compose.invalid(f"there is no Compose file in {Path.cwd()}: name it with -f")


def _own_folder() -> Path:
    """For files of ours that Compose reads: in the work folder of the component that calls."""
    folder = (Path.cwd() if calling_component() else home_folder()) / "compose"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DockermgrError(
            ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID,
            f"there is no place for the files that Compose needs: {error}",
            hint="run it from a component's script, or set DOCKERMGR_HOME to a folder of yours",
        ) from error
    return folder


def _from_s3(uri: str, name: str) -> Path:
    """Fetches a file into a folder of ours, as long as that takes. Raises the errors of `S3Object`."""
    from dockermgr.s3 import S3Object, parse_s3

    config = taken_over(home_folder()).retry

    def retrying(work: Callable[[], T]) -> T:
        return keep_trying(
            work,
            config,
            wait=lambda error, failures: back_off_seconds(
                failures, config, retry_after_seconds=error.retry_after_seconds
            ),
            sleep=time.sleep,
            on_failure=lambda error, seconds: _say(f"trying again in {seconds:.1f} s: {error}"),
        )

    try:
        address = parse_s3(uri)
    except ValueError as error:
        raise compose.invalid(str(error)) from error
    with contextlib.closing(S3Object(address, retrying)) as found:
        if found.size_bytes > _LARGEST_FILE_BYTES:
            raise compose.invalid(f"{uri} has {found.size_bytes} bytes: that is no Compose file")
        content = b"".join(found.chunks())
    path = _own_folder() / name
    try:
        replace_text(path, content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise compose.invalid(f"{uri} is no text: {error}") from error
    return path


def _say(text: str) -> None:
    sys.stderr.write(f"dockermgr: {text}\n")
