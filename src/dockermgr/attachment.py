"""What a container says and hears: its streams, handed through as they come."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import sys
import termios
import threading
import tty
from io import BufferedReader

_HEADER = struct.Struct(">BxxxL")
"""Of each piece without a terminal: stream and length (Docker Engine API, "Attach to a container")."""


class Attachment:
    """Copies in threads, from and to this process's own standard streams."""

    def __init__(
        self, reader: BufferedReader, sink: socket.socket, *, terminal: bool, stdin: bool
    ) -> None:
        self._reader = reader
        self._sink = sink
        self._saved: list[object] | None = None
        if terminal and stdin and os.isatty(0):
            self._saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)  # what was typed before is the container's, too
        self._output = threading.Thread(target=self._raw if terminal else self._split, daemon=True)
        self._output.start()
        if stdin:
            threading.Thread(target=self._input, daemon=True).start()

    def end(self, seconds: float) -> None:
        """Waits for the last of the output; gives the terminal back as it was."""
        self._output.join(seconds)
        if self._saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type]

    def _split(self) -> None:
        with contextlib.suppress(OSError):
            while len(header := self._reader.read(_HEADER.size)) == _HEADER.size:
                stream, left = _HEADER.unpack(header)
                while left and (content := self._reader.read1(min(left, 65536))):
                    left -= len(content)
                    _write(2 if stream == 2 else 1, content)

    def _raw(self) -> None:
        with contextlib.suppress(OSError):
            while content := self._reader.read1(65536):
                _write(1, content)

    def _input(self) -> None:
        with contextlib.suppress(OSError):
            while content := os.read(0, 65536):
                self._sink.sendall(content)
            self._sink.shutdown(socket.SHUT_WR)


def terminal_size() -> tuple[int, int] | None:
    """Rows and columns of our terminal."""
    try:
        rows, columns = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2]
    except OSError:
        return None
    return rows, columns


def _write(stream: int, content: bytes) -> None:
    try:
        while content:
            content = content[os.write(stream, content) :]
    except OSError as error:
        # Whoever read our output has gone: the container goes on, as under `docker run`.
        sys.stderr.write("" if stream == 2 else f"dockermgr: output is lost: {error}\n")
