"""`dockermgr parse`: how a URI is read."""

from __future__ import annotations

import argparse
import json
import sys

from dockermgr.describe import describe_uri
from dockermgr.errors import ExitCode
from dockermgr.reference import InvalidReference

HELP = "show how image URIs are read, one JSON object a line"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("uris", nargs="+", metavar="URI", help="docker:<image>")
    parser.add_argument(
        "--json", action="store_true", help="also print an object for each invalid URI"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints one line per URI; goes on after an invalid one."""
    code = ExitCode.DONE
    for uri in arguments.uris:
        try:
            print(json.dumps(describe_uri(uri)))
        except InvalidReference as error:
            code = ExitCode.USAGE
            print(f"dockermgr: {error}", file=sys.stderr)
            if arguments.json:
                print(json.dumps({"uri": uri, "error": str(error)}))
    return code
