"""The AWS event-stream framing of Greengrass IPC: bytes to frames and back, no I/O.

A frame is, big-endian: u32 length of the whole frame, u32 length of the headers, u32 CRC32 of those
eight bytes, the headers, the payload, and u32 CRC32 of everything before it. A header is u8 length
of the name, the name, u8 type, the value. Greengrass uses two of the types only, and Greengrass
Lite refuses the others, so this does too (aws-greengrass-sdk-lite, `eventstream/decode.c`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TypeAlias

PRELUDE_BYTES = 12
"""The two lengths and their CRC: what must be read to know how long a frame is."""

_TRAILER_BYTES = 4
_INT32_TYPE = 4
_STRING_TYPE = 7

HeaderValue: TypeAlias = int | str


class MessageType(IntEnum):
    """Values of the `:message-type` header."""

    APPLICATION_MESSAGE = 0
    APPLICATION_ERROR = 1
    PING = 2
    PING_RESPONSE = 3
    CONNECT = 4
    CONNECT_ACK = 5


class MessageFlag(IntFlag):
    """Bits of the `:message-flags` header."""

    NONE = 0
    CONNECTION_ACCEPTED = 1
    TERMINATE_STREAM = 2


class FrameError(ValueError):
    """The bytes are not an event-stream frame; the peer's stream can't be followed any further."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of either side."""

    headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    payload: bytes = b""

    @classmethod
    def message(
        cls,
        message_type: MessageType,
        *,
        stream_id: int,
        flags: MessageFlag = MessageFlag.NONE,
        headers: Mapping[str, HeaderValue] | None = None,
        payload: bytes = b"",
    ) -> Frame:
        """A frame with the three headers that every message of the RPC protocol carries, and
        `headers` after them.
        """
        common: dict[str, HeaderValue] = {
            ":message-type": int(message_type),
            ":message-flags": int(flags),
            ":stream-id": stream_id,
        }
        return cls({**common, **(headers or {})}, payload)

    def number(self, name: str) -> int:
        """The int32 header called `name`; raises FrameError where there is none."""
        value = self.headers.get(name)
        if not isinstance(value, int):
            raise FrameError(f"header {name} is missing or not an int32")
        return value

    def text(self, name: str) -> str:
        """The string header called `name`; raises FrameError where there is none."""
        value = self.headers.get(name)
        if not isinstance(value, str):
            raise FrameError(f"header {name} is missing or not a string")
        return value

    @property
    def message_type(self) -> int:
        return self.number(":message-type")

    @property
    def flags(self) -> MessageFlag:
        return MessageFlag(self.number(":message-flags"))

    @property
    def stream_id(self) -> int:
        return self.number(":stream-id")


def encode(frame: Frame) -> bytes:
    """The bytes of a frame. Raises FrameError for a header that the format has no room for."""
    headers = b"".join(_encode_header(name, value) for name, value in frame.headers.items())
    total = PRELUDE_BYTES + len(headers) + len(frame.payload) + _TRAILER_BYTES
    lengths = struct.pack(">II", total, len(headers))
    checked = lengths + _crc(lengths) + headers + frame.payload
    return checked + _crc(checked)


def frame_length(prelude: bytes) -> int:
    """Length in bytes of the whole frame that begins with these twelve bytes. Raises FrameError."""
    return _lengths(prelude)[0]


def decode(data: bytes) -> Frame:
    """The frame that `data` holds, all of it and nothing after it. Raises FrameError."""
    total, headers_length = _lengths(data)
    if total != len(data):
        raise FrameError(f"the frame says it has {total} bytes, but it has {len(data)}")
    if _crc(data[:-_TRAILER_BYTES]) != data[-_TRAILER_BYTES:]:
        raise FrameError("message CRC mismatch")
    headers_end = PRELUDE_BYTES + headers_length
    return Frame(
        _decode_headers(data[PRELUDE_BYTES:headers_end]), data[headers_end:-_TRAILER_BYTES]
    )


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def _lengths(data: bytes) -> tuple[int, int]:
    if len(data) < PRELUDE_BYTES:
        raise FrameError(f"a prelude has {PRELUDE_BYTES} bytes, this has {len(data)}")
    if _crc(data[:8]) != data[8:PRELUDE_BYTES]:
        raise FrameError("prelude CRC mismatch")
    total, headers_length = struct.unpack(">II", data[:8])
    if total < PRELUDE_BYTES + headers_length + _TRAILER_BYTES:
        raise FrameError(f"{headers_length} bytes of headers do not fit in a frame of {total}")
    return total, headers_length


def _encode_header(name: str, value: HeaderValue) -> bytes:
    encoded_name = name.encode()
    try:
        start = struct.pack(">B", len(encoded_name)) + encoded_name
        if isinstance(value, int):
            return start + struct.pack(">Bi", _INT32_TYPE, value)
        text = value.encode()
        return start + struct.pack(">BH", _STRING_TYPE, len(text)) + text
    except struct.error as error:
        raise FrameError(f"header {name[:40]!r} does not fit the format: {error}") from error


def _decode_headers(data: bytes) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    rest = data
    try:
        while rest:
            name, rest = _take(rest[1:], rest[0])
            kind, rest = rest[0], rest[1:]
            if kind == _INT32_TYPE:
                raw, rest = _take(rest, 4)
                headers[name.decode()] = int.from_bytes(raw, "big", signed=True)
            elif kind == _STRING_TYPE:
                size, rest = _take(rest, 2)
                raw, rest = _take(rest, int.from_bytes(size, "big"))
                headers[name.decode()] = raw.decode()
            else:
                raise FrameError(f"header {name!r} has the unsupported type {kind}")
    except (IndexError, UnicodeDecodeError) as error:
        raise FrameError(f"broken headers: {error}") from error
    return headers


def _take(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise FrameError("a header ends beyond the headers")
    return data[:size], data[size:]
