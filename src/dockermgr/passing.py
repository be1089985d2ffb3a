"""What the component whose script this process belongs to has to pass on to a container."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dockermgr.passthrough import (
    DEFAULT_STREAM_MANAGER_PORT,
    IPC_SOCKET,
    CannotPass,
    Feature,
    Passthrough,
    pass_through,
)


def pass_from_here(features: Sequence[Feature]) -> Passthrough:
    """From this process's environment and folder; the nucleus is asked for the stream manager's port.

    Raises CannotPass.
    """
    port = DEFAULT_STREAM_MANAGER_PORT
    if Feature.STREAM_MANAGER in features:
        from dockermgr.stream_manager import server_port  # awscrt: 10 MB

        port = server_port()
    given = pass_through(features, os.environ, str(Path.cwd()), stream_manager_port=port)
    if Feature.IPC in features and not Path(os.environ[IPC_SOCKET]).is_socket():
        # Some engines would make a folder of that name, in the nucleus's way.
        raise CannotPass(
            f"there is no IPC socket {os.environ[IPC_SOCKET]}: is the nucleus running?"
        )
    return given
