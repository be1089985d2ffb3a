"""`dockermgr credentials`: plain `docker` and Compose with the device's own ECR credentials."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from dockermgr import credential_helper
from dockermgr.credential_helper import PROGRAM, NotFoundError, NotKeptError
from dockermgr.docker_config import DockerConfigError, helped_hosts, installed, uninstalled
from dockermgr.errors import DockermgrError, ExitCode
from dockermgr.registry import is_ecr

HELP = "let plain docker and Compose pull from Amazon ECR with the device's credentials"

LINK = Path("/usr/local/bin", PROGRAM)
"""In everybody's PATH, for what an administrator adds (Filesystem Hierarchy Standard, 4.9)."""

_PROTOCOL = ("get", "list", "store", "erase")
_REFUSED = 1  # the protocol's exit code for every error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments: a verb, and those of the verb."""
    verbs = parser.add_subparsers(metavar="VERB", dest="verb", required=True)
    for verb, what in (
        ("install", "make docker ask dockermgr: for these hosts, or for all that no other serves"),
        ("uninstall", "undo that: for these hosts, or altogether"),
    ):
        command = verbs.add_parser(verb, help=what, description=what)
        command.add_argument("hosts", nargs="*", metavar="HOST", type=_ecr_host)
        command.add_argument(
            "--config",
            metavar="FOLDER",
            default=_folder(),
            help="docker's configuration folder (default: $DOCKER_CONFIG, else ~/.docker)",
        )
    for verb in _PROTOCOL:
        verbs.add_parser(verb, help=f"as docker calls {PROGRAM}")


def _ecr_host(text: str) -> str:
    registry = credential_helper.registry_of(text)
    if not is_ecr(registry.kind):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host of Amazon ECR")
    return registry.host


def run(arguments: argparse.Namespace) -> int:
    """Answers docker, or changes its configuration."""
    if arguments.verb in _PROTOCOL:
        return _answer(arguments.verb)
    path = _config_file(arguments.config)
    try:
        before = _read(path)
        if arguments.verb == "install":
            after = installed(before, arguments.hosts)
            _put_in_path()  # first: a helper that is named but not found makes every pull fail
        else:
            after = uninstalled(before, arguments.hosts)
        if after != before:
            _write(path, after)
    except (DockerConfigError, OSError) as error:
        print(f"dockermgr: {path} was not changed: {error}", file=sys.stderr)
        return ExitCode.USAGE
    print(f"{path}: {'changed' if after != before else 'nothing to change'}")
    if arguments.verb == "uninstall" and LINK.is_symlink():
        print(f"{LINK}: left, other users may need it; else remove it")
    return ExitCode.DONE


def _answer(verb: str) -> int:
    request = "" if verb == "list" else sys.stdin.buffer.read().decode("utf-8", "replace")
    try:
        if verb == "get":
            print(credential_helper.get(request.strip("\r\n\t ")))
        elif verb == "list":
            print(json.dumps(_list()))
        elif verb == "store":
            credential_helper.store(request)
    except NotFoundError as error:
        print(error)
        if error.__cause__:
            print(f"{PROGRAM}: going on without a token: {error.__cause__}", file=sys.stderr)
        return _REFUSED
    except (DockermgrError, DockerConfigError, NotKeptError, OSError) as error:
        print(error)
        # `docker pull` keeps an error's text to itself, but hands this through.
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return _REFUSED
    return ExitCode.DONE


def _list() -> dict[str, str]:
    path = _config_file(_folder())
    try:
        return dict.fromkeys(helped_hosts(_read(path)), "AWS")
    except DockerConfigError as error:
        raise DockerConfigError(f"{path}: {error}") from error


def _folder() -> str:
    """Where docker itself looks."""
    return os.environ.get("DOCKER_CONFIG") or "~/.docker"


def _config_file(folder: str) -> Path:
    """The file itself: a symbolic link stays one."""
    return Path(os.path.realpath(Path(folder).expanduser() / "config.json"))


def _read(path: Path) -> str:
    """Its text, empty if it is not there. Raises DockerConfigError and OSError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DockerConfigError("it is not a file")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise DockerConfigError(f"it is damaged, mend it first: {error}") from error


def _write(path: Path, text: str) -> None:
    """Replaces it in one step, with its mode and owner; removes it for an empty text.

    What is new is for its owner only, who is that of the folder above. Raises OSError.
    """
    if not text:
        path.unlink()
        return
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700)
        _give_to_owner_of_folder(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temporary = Path(name)  # its mode is 0600
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  # mkstemp has opened it
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            found = path.stat()
            os.chown(temporary, found.st_uid, found.st_gid)
            temporary.chmod(stat.S_IMODE(found.st_mode))
        else:
            _give_to_owner_of_folder(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _give_to_owner_of_folder(path: Path) -> None:
    if os.geteuid() == 0:  # who may be at work for another user
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _put_in_path() -> None:
    """Sees to it that docker finds this program. Raises FileNotFoundError with what to do."""
    if shutil.which(PROGRAM):
        return
    wanted = f"docker looks for {PROGRAM} in PATH, and it is not there"
    beside = [Path(sys.argv[0]).absolute().parent]
    if home := os.environ.get("DOCKERMGR_HOME"):
        beside.insert(0, Path(home, "bin"))
    folder = next((folder for folder in beside if os.access(folder / PROGRAM, os.X_OK)), None)
    if folder is None:
        raise FileNotFoundError(
            f"{wanted}: start the component, which writes it, and use the command in its work folder"
        )
    mend = f"run `sudo ln -sf {folder / PROGRAM} {LINK}`, or have {folder} in PATH"
    if str(LINK.parent) not in os.get_exec_path():
        raise FileNotFoundError(f"{wanted}, nor is {LINK.parent}: {mend}")
    try:
        if LINK.is_symlink():  # to what is gone
            LINK.unlink()
        LINK.symlink_to(folder / PROGRAM)
    except OSError as error:
        raise FileNotFoundError(f"{wanted}: {mend} ({error})") from error
    print(f"{LINK}: made, for {folder / PROGRAM}")
