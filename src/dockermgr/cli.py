"""The command line: finds the command, and loads no more than that command needs."""

from __future__ import annotations

import argparse
import importlib
import sys

from dockermgr import __version__
from dockermgr.errors import DockermgrError, ExitCode

COMMANDS = ("compose", "credentials", "lint", "load", "parse", "pull", "run", "serve", "status")


def main(argv: list[str] | None = None) -> int:
    """Runs `dockermgr <argv>` and returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    chosen = next((word for word in argv if not word.startswith("-")), None)
    parser = _parser(chosen)
    try:
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:  # said by the command itself, with its own usage and exit code
            arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return int(arguments.run(arguments))
    except SystemExit as end:  # argparse: 0 after --help, 2 for wrong usage
        return end.code if isinstance(end.code, int) else ExitCode.USAGE
    except DockermgrError as error:
        sys.stderr.write(f"dockermgr: {error}\n")
        return ExitCode.USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be said on it.
        sys.stderr.close()
        return ExitCode.DONE


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dockermgr",
        description="Gets Docker images onto AWS IoT Greengrass core devices and keeps them there.",
    )
    parser.add_argument("--version", action="version", version=f"dockermgr {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS if chosen not in COMMANDS else (chosen,):
        module = importlib.import_module(f"dockermgr.commands.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        command.add_argument("-v", "--verbose", action="store_true", help="log every step")
        module.add_arguments(command)
        command.set_defaults(run=module.run, parser=command)
    return parser
