"""`dockermgr status`: images and containers by component."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time

from dockermgr.errors import DockermgrError, ExitCode

HELP = "show images and containers by component: states, sizes, last errors"
WATCH_SECONDS = 1.0
"""As often as the service says something new."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--json", action="store_true", help="one object, on one line")
    parser.add_argument("--watch", action="store_true", help="again each second, until stopped")


def run(arguments: argparse.Namespace) -> int:
    """Prints what is known; without an engine, what the service said last."""
    from dockermgr.engine_containers import Containers
    from dockermgr.overview import Holdings, as_text, overview
    from dockermgr.snapshot import read_snapshot
    from dockermgr.state import State, home_folder

    engine, state = Containers(), State(home_folder())
    on_terminal = sys.stdout.isatty()
    code = ExitCode.DONE
    while True:
        try:
            holdings = Holdings(engine.images(), engine.supervised())
            code = ExitCode.DONE
        except DockermgrError as error:
            holdings, code = None, ExitCode.ENGINE
            print(f"dockermgr: {error}", file=sys.stderr)
        seen = overview(read_snapshot(home_folder()), state.pulled_images(), holdings)
        width = shutil.get_terminal_size().columns if on_terminal else 0
        text = json.dumps(seen) if arguments.json else as_text(seen, width)
        clear = "\x1b[H\x1b[2J" if arguments.watch and on_terminal and not arguments.json else ""
        print(f"{clear}{text}", flush=True)
        if not arguments.watch:
            return code
        time.sleep(WATCH_SECONDS)
