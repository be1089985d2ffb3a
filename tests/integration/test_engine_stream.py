"""Pulls of an engine that dies, or is cut off, in the middle of its events: a real socket, no box."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockermgr.engine import PullStream
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.reference import parse_reference

API_VERSION = "1.41"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = {"status": "Pulling fs layer"}
CUT_SHORT = b'40\r\n{"sta'
END = b"0\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


WHOLE_EVENT = chunk(b'{"status": "Pulling fs layer"}\r\n')

Serve = Callable[..., contextlib.AbstractContextManager[PullStream]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """`serve(answer)`: a pull of an engine that sends those bytes and hangs up; with `hang` it doesn't."""

    @contextlib.contextmanager
    def serving(answer: bytes, *, hang: bool = False) -> Iterator[PullStream]:
        path = tmp_path / "engine.sock"
        with (
            socket.socket(socket.AF_UNIX) as listener,
            ThreadPoolExecutor(1) as pool,
        ):
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(30)
            served = pool.submit(_answer_once, listener, answer, hang=hang)
            stream = PullStream(f"unix://{path}", API_VERSION)
            try:
                yield stream
            finally:
                stream.close()
            served.result(30)

    return serving


def _answer_once(listener: socket.socket, answer: bytes, *, hang: bool) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(30)
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            received = connection.recv(65_536)
            if not received:
                return
            asked += received
        assert asked.startswith(f"POST /v{API_VERSION}/images/create?".encode())
        connection.sendall(answer)
        while hang and connection.recv(65_536):
            pass


def events(stream: PullStream) -> Iterator[Mapping[str, object]]:
    return stream.events(parse_reference("nginx:1"), None, None)


def assert_away(error: DockermgrError) -> None:
    assert error.code is ErrorCode.DOCKER_SERVICE_UNAVAILABLE
    assert error.retry is Retry.UNTIL_MENDED


def test_events_come_to_their_end(serve: Serve) -> None:
    with serve(HEAD + WHOLE_EVENT * 2 + END) as stream:
        assert list(events(stream)) == [EVENT, EVENT]


@pytest.mark.parametrize(
    ("answer", "before"),
    [
        (b"", 0),
        (HEAD[:30], 0),
        (HEAD, 0),
        (HEAD + CUT_SHORT, 0),
        (HEAD + WHOLE_EVENT, 1),
        (HEAD + WHOLE_EVENT + CUT_SHORT, 1),
        (HEAD + WHOLE_EVENT * 3 + CUT_SHORT, 3),
        (HEAD + WHOLE_EVENT + chunk(b'{"sta') + END, 1),
        (HEAD + b"zz\r\n", 0),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"a":', 0),
    ],
    ids=[
        "nothing",
        "half-a-head",
        "no-event",
        "half-an-event",
        "no-end",
        "an-event-and-a-half",
        "three-events-and-a-half",
        "an-end-after-half-an-event",
        "a-damaged-chunk",
        "not-chunked",
    ],
)
def test_an_engine_that_ends_too_early_is_away(answer: bytes, before: int, serve: Serve) -> None:
    with serve(answer) as stream:
        arriving = events(stream)
        assert [next(arriving) for _ in range(before)] == [EVENT] * before
        with pytest.raises(DockermgrError) as caught:
            next(arriving)
    assert_away(caught.value)


@pytest.mark.parametrize("rest", [b"", CUT_SHORT], ids=["between-events", "within-an-event"])
def test_aborting_wakes_who_waits_for_the_engine(rest: bytes, serve: Serve) -> None:
    with serve(HEAD + WHOLE_EVENT + rest, hang=True) as stream:
        arriving = events(stream)
        assert next(arriving) == EVENT
        # Nothing tells that a thread waits on a socket; a little later it does.
        abort = threading.Timer(0.05, stream.abort)
        abort.start()
        with pytest.raises(DockermgrError) as caught:
            next(arriving)
        abort.join(30)
    assert_away(caught.value)


def test_what_was_aborted_before_does_not_begin(serve: Serve) -> None:
    with serve(HEAD + WHOLE_EVENT, hang=True) as stream:
        stream.abort()
        with pytest.raises(DockermgrError) as caught:
            next(events(stream))
    assert_away(caught.value)
