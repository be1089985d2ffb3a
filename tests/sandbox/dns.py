"""A name server for the sandbox, whose outages are real ones to the resolver that asks."""

from __future__ import annotations

import contextlib
import enum
import ipaddress
import socket
import struct
import threading

_HEADER = struct.Struct("!6H")
_A, _IN = 1, 1
_RESPONSE, _RECURSION_AVAILABLE, _RECURSION_DESIRED = 0x8000, 0x0080, 0x0100
_SERVFAIL, _NXDOMAIN = 2, 3
_POINTER_TO_QUESTION = 0xC00C
_MESSAGE_BYTES = 4096
_STOP_POLL_SECONDS = 0.2


class Mode(enum.Enum):
    """How the name server behaves, and what dockerd then says."""

    NORMAL = "normal"
    """Answers for the names it knows; `no such host` for all others."""
    NXDOMAIN = "nxdomain"
    """`no such host` for every name."""
    SERVFAIL = "servfail"
    """`server misbehaving`."""
    SILENT = "silent"
    """`i/o timeout`."""


class DnsServer:
    """Answers for A records over UDP in a thread. `names` and `mode` may be changed at any time."""

    def __init__(self, address: str, port: int = 53) -> None:
        self.names: dict[str, str] = {}
        self.mode = Mode.NORMAL
        self.asked: set[str] = set()
        """All names that somebody wanted to know since the last `reset` of the device."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self._socket.settimeout(_STOP_POLL_SECONDS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="sandbox-dns", daemon=True)

    def start(self) -> None:
        """Starts answering."""
        self._thread.start()

    def close(self) -> None:
        """Stops answering; questions are then refused."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            # The poll's timeout, or a client that has gone or is unreachable.
            with contextlib.suppress(OSError):
                question, client = self._socket.recvfrom(_MESSAGE_BYTES)
                answer = self.answer(question)
                if answer is not None:
                    self._socket.sendto(answer, client)

    def answer(self, question: bytes) -> bytes | None:
        """The reply to one message; None when it deserves none."""
        if self.mode is Mode.SILENT or len(question) < _HEADER.size:
            return None
        identity, flags, *_ = _HEADER.unpack_from(question)
        parsed = _parse_question(question)
        if parsed is None:
            return None
        name, record_type, raw = parsed
        self.asked.add(name)
        flags = _RESPONSE | (flags & _RECURSION_DESIRED) | _RECURSION_AVAILABLE
        address = self.names.get(name) if self.mode is Mode.NORMAL else None
        if self.mode is Mode.SERVFAIL:
            flags |= _SERVFAIL
        elif address is None:
            flags |= _NXDOMAIN
        record = b""
        if address is not None and record_type == _A:
            packed = ipaddress.IPv4Address(address).packed
            # A TTL of 0: a change of `names` counts at once.
            record = struct.pack("!HHHIH", _POINTER_TO_QUESTION, _A, _IN, 0, len(packed)) + packed
        return _HEADER.pack(identity, flags, 1, int(bool(record)), 0, 0) + raw + record


def _parse_question(message: bytes) -> tuple[str, int, bytes] | None:
    labels: list[str] = []
    at = _HEADER.size
    try:
        while length := message[at]:
            labels.append(message[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
        record_type, _ = struct.unpack_from("!2H", message, at + 1)
    except (IndexError, UnicodeDecodeError, struct.error):
        return None
    return ".".join(labels).lower(), record_type, message[_HEADER.size : at + 5]
