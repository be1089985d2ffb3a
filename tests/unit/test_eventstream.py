"""The event-stream framing, against itself and against botocore's decoder of the same format."""

from __future__ import annotations

import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.eventstream import (
    PRELUDE_BYTES,
    Frame,
    FrameError,
    HeaderValue,
    MessageFlag,
    MessageType,
    decode,
    encode,
    frame_length,
)

_NAMES = st.text(min_size=1, max_size=40)
_VALUES: st.SearchStrategy[HeaderValue] = st.one_of(
    st.integers(min_value=-(2**31), max_value=2**31 - 1), st.text(max_size=200)
)
_FRAMES = st.builds(Frame, st.dictionaries(_NAMES, _VALUES, max_size=8), st.binary(max_size=2000))


@given(_FRAMES)
def test_decode_gives_back_what_was_encoded(frame: Frame) -> None:
    data = encode(frame)

    assert decode(data) == frame
    assert frame_length(data[:PRELUDE_BYTES]) == len(data)


@given(_FRAMES)
def test_an_independent_decoder_reads_the_same(frame: Frame) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(encode(frame))

    (event,) = list(buffer)

    assert event.headers == frame.headers
    assert event.payload == frame.payload


@given(_FRAMES, st.data())
def test_a_changed_bit_is_detected(frame: Frame, data: st.DataObject) -> None:
    encoded = bytearray(encode(frame))
    position = data.draw(st.integers(min_value=0, max_value=len(encoded) - 1))
    encoded[position] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))

    with pytest.raises(FrameError):
        decode(bytes(encoded))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_and_nothing_else_is_raised(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode(data)


@given(st.binary(max_size=60))
def test_arbitrary_headers_under_good_checksums_never_raise_anything_else(headers: bytes) -> None:
    lengths = struct.pack(">II", PRELUDE_BYTES + len(headers) + 4, len(headers))
    checked = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers
    data = checked + struct.pack(">I", zlib.crc32(checked))

    try:
        frame = decode(data)
    except FrameError:
        return
    assert frame.payload == b""


def test_bytes_of_a_connect_message_are_as_the_protocol_says() -> None:
    frame = Frame.message(MessageType.CONNECT, stream_id=0, headers={":version": "0.1.0"})

    data = encode(frame)

    headers = (
        b"\x0d:message-type\x04\x00\x00\x00\x04"
        b"\x0e:message-flags\x04\x00\x00\x00\x00"
        b"\x0a:stream-id\x04\x00\x00\x00\x00"
        b"\x08:version\x07\x00\x050.1.0"
    )
    assert data[:8] == struct.pack(">II", 16 + len(headers), len(headers))
    assert data[8:12] == struct.pack(">I", zlib.crc32(data[:8]))
    assert data[12:-4] == headers
    assert data[-4:] == struct.pack(">I", zlib.crc32(data[:-4]))


def test_common_headers_are_read_by_name() -> None:
    frame = Frame.message(
        MessageType.APPLICATION_ERROR, stream_id=7, flags=MessageFlag.TERMINATE_STREAM
    )

    assert frame.message_type == MessageType.APPLICATION_ERROR
    assert frame.flags == MessageFlag.TERMINATE_STREAM
    assert frame.stream_id == 7


@pytest.mark.parametrize("headers", [{}, {":stream-id": "7"}])
def test_a_missing_or_mistyped_common_header_is_an_error(headers: dict[str, HeaderValue]) -> None:
    with pytest.raises(FrameError, match=":stream-id"):
        _ = Frame(headers).stream_id


@pytest.mark.parametrize("headers", [{}, {"operation": 1}])
def test_a_missing_or_mistyped_text_header_is_an_error(headers: dict[str, HeaderValue]) -> None:
    with pytest.raises(FrameError, match="operation"):
        Frame(headers).text("operation")


@pytest.mark.parametrize(
    "headers", [{"n" * 256: 1}, {"name": 2**31}, {"name": "v" * 65536}], ids=["name", "int", "text"]
)
def test_what_the_format_has_no_room_for_is_not_encoded(headers: dict[str, HeaderValue]) -> None:
    with pytest.raises(FrameError, match="does not fit"):
        encode(Frame(headers))


@pytest.mark.parametrize(
    ("position", "what"),
    [(0, "prelude CRC"), (9, "prelude CRC"), (20, "message CRC"), (-1, "message CRC")],
)
def test_a_bad_checksum_is_named(position: int, what: str) -> None:
    data = bytearray(encode(Frame({"name": "value"}, b"payload")))
    data[position] ^= 0xFF

    with pytest.raises(FrameError, match=what):
        decode(bytes(data))


def test_a_cut_frame_is_an_error() -> None:
    with pytest.raises(FrameError, match="bytes"):
        decode(encode(Frame({"name": "value"}))[:-1])
