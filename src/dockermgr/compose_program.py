"""The Compose of this machine: v2 as docker's plugin or alone, or v1."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dockermgr.compose import invalid, place_of, syntax_problem
from dockermgr.errors import DockermgrError, ErrorCode

PROGRAMS = (("docker", "compose"), ("docker-compose",))
QUESTION_SECONDS = 60.0
"""Compose v1 takes seconds to start on a small device."""
_LONGEST_COMPLAINT = 2000


@dataclass(frozen=True, slots=True)
class ComposeProject:
    """The files, and what is said of them, in the words of Compose's own command line."""

    files: tuple[Path, ...]
    """None: Compose looks for them itself."""
    name: str = ""
    folder: str = ""
    """What relative paths start from; empty: the folder of the first file."""
    profiles: tuple[str, ...] = ()
    env_file: str = ""

    def options(self) -> list[str]:
        """Before the verb."""
        words = [word for file in self.files for word in ("--file", str(file))]
        words += [word for profile in self.profiles for word in ("--profile", profile)]
        for option, value in (
            ("--project-name", self.name),
            ("--project-directory", self.folder),
            ("--env-file", self.env_file),
        ):
            words += [option, value] if value else []
        return words


@dataclass(frozen=True, slots=True)
class ComposeProgram:
    """How Compose is called here."""

    command: tuple[str, ...]
    major: int

    def resolved(self, project: ComposeProject, environment: Mapping[str, str]) -> str:
        """The files as Compose reads them: merged, with variables filled in.

        Raises COMPONENT_CONFIGURATION_NOT_VALID, with the line where it is known.
        """
        texts = {file: _text(file) for file in project.files}
        for file, text in texts.items():
            if problem := syntax_problem(text):
                raise invalid(f"{file}: {problem}")
        done = _ask([*self.command, *project.options(), "config"], environment)
        if done.returncode == 0:
            return done.stdout
        complaint = " ".join(done.stderr.split())[-_LONGEST_COMPLAINT:]
        for file, text in texts.items():
            if place := place_of(complaint, text):
                raise invalid(f"{file}: {place}{complaint}")
        raise invalid(complaint or f"{' '.join(self.command)} config failed without a word")


def find_compose(environment: Mapping[str, str]) -> ComposeProgram:
    """The first that answers. Raises DOCKER_SERVICE_UNAVAILABLE when none does."""
    for command in PROGRAMS:
        done = _ask([*command, "version", "--short"], environment)
        found = re.match(r"v?(\d+)\.", done.stdout)
        if done.returncode == 0 and found:
            return ComposeProgram(command, int(found[1]))
    raise DockermgrError(
        ErrorCode.DOCKER_SERVICE_UNAVAILABLE,
        "there is neither `docker compose` nor `docker-compose` on PATH",
        hint="install Compose: docker-compose-plugin (Docker's packages) or docker-compose (Debian's)",
    )


def _ask(
    command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=QUESTION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(f"{file} cannot be read: {error}") from error
