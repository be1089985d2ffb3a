"""What is said over IPC fits the schema and the nucleus, whatever it is about."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.images import LocalImage
from dockermgr.progress import Progress, Stage
from dockermgr.reader import Problem
from dockermgr.redact import forget_secret, remember_secret
from dockermgr.status import (
    EngineStatus,
    Origin,
    Throttle,
    error_message,
    image_message,
    shorten,
    summary_message,
    timestamp,
    worst_state,
)

LIMIT_BYTES = 8_000
ORIGIN = Origin("thing", "com.example.App")
PATH = Path(__file__).parents[2] / "docs" / "status.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(PATH.read_text(encoding="utf-8")))


def wire(message: dict[str, Any]) -> dict[str, Any]:
    """The message as a listener gets it."""
    encoded = json.dumps(message)
    assert len(encoded) < LIMIT_BYTES
    decoded: dict[str, Any] = json.loads(encoded)
    VALIDATOR.validate(decoded)
    return decoded


def error(message: str = "away", hint: str = "wait", retry: Retry = Retry.NEVER) -> DockermgrError:
    return DockermgrError(ErrorCode.NETWORK_ERROR, message, hint=hint, retry=retry)


def pulling(percent: int, stage: Stage = Stage.DOWNLOADING, attempt: int = 1) -> ImageUpdate:
    return ImageUpdate(ImageState.PULLING, attempt, progress=Progress(stage, percent, 100, percent))


@pytest.mark.parametrize(
    ("epoch_seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_767_225_600.25, "2026-01-01T00:00:00.250Z"),
        (1_767_225_600.9999, "2026-01-01T00:00:00.999Z"),
    ],
)
def test_times_are_utc_with_milliseconds(epoch_seconds: float, text: str) -> None:
    assert timestamp(epoch_seconds) == text


@given(st.floats(0, 32_503_680_000))
def test_times_can_be_read_back(epoch_seconds: float) -> None:
    read = datetime.fromisoformat(timestamp(epoch_seconds).replace("Z", "+00:00"))
    assert read.timestamp() == pytest.approx(epoch_seconds, abs=0.002)


def test_a_message_of_an_image_says_everything() -> None:
    update = ImageUpdate(
        ImageState.READY,
        attempt=2,
        digest="sha256:d",
        image=LocalImage("sha256:i", 1234),
        duration_seconds=1.2345,
    )
    assert wire(image_message(ORIGIN, "docker:nginx:1", update, 0)) == {
        "schema": "dockermgr.status/v1",
        "timestamp": "1970-01-01T00:00:00.000Z",
        "thingName": "thing",
        "component": "com.example.App",
        "image": "docker:nginx:1",
        "state": "READY",
        "attempt": 2,
        "retryAt": None,
        "progress": None,
        "digest": "sha256:d",
        "imageId": "sha256:i",
        "sizeBytes": 1234,
        "durationMs": 1234,
        "error": None,
    }


def test_progress_and_errors_are_told() -> None:
    told = wire(image_message(ORIGIN, "docker:nginx:1", pulling(40), 0))
    assert told["progress"] == {
        "stage": "downloading",
        "downloadedBytes": 40,
        "totalBytes": 100,
        "percent": 40,
    }
    failed = ImageUpdate(
        ImageState.RETRYING, attempt=1, retry_at=60.5, error=error(retry=Retry.LIMITED)
    )
    told = wire(image_message(Origin(None, ""), "docker:nginx:1", failed, 0))
    assert told["retryAt"] == "1970-01-01T00:01:00.500Z"
    assert told["error"] == {
        "code": "NETWORK_ERROR",
        "message": "away",
        "hint": "wait",
        "retryable": True,
    }
    assert (told["thingName"], told["component"]) == (None, "")


def test_the_schema_refuses_what_is_not_in_it() -> None:
    message = image_message(ORIGIN, "docker:nginx:1", pulling(1), 0)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**message, "more": 1})


def test_secrets_in_an_error_are_masked() -> None:
    remember_secret("hunter2hunter2")
    try:
        told = error_message(error("password hunter2hunter2", "not hunter2hunter2"))
    finally:
        forget_secret("hunter2hunter2")
    assert (told["message"], told["hint"]) == ("password ***", "not ***")


def test_a_summary_counts() -> None:
    states = [ImageState.READY, ImageState.READY, ImageState.PULLING, ImageState.FAILED]
    engine = EngineStatus(version="26.1", free_bytes=1_000)
    told = wire(summary_message(ORIGIN, states, engine, [Problem("images", "is wrong")], 0))
    assert (told["images"], told["worst"]) == (4, "FAILED")
    assert told["counts"] == {
        "READY": 2,
        "QUEUED": 0,
        "PULLING": 1,
        "RETRYING": 0,
        "FAILED": 1,
    }
    assert told["engine"] == {"available": True, "version": "26.1", "error": None}
    assert told["freeBytes"] == 1_000
    assert told["configurationProblems"] == ["images: is wrong"]


def test_a_summary_of_nothing() -> None:
    told = wire(summary_message(Origin(None, "c"), iter(()), EngineStatus(error=error()), (), 0))
    assert (told["images"], told["worst"], told["freeBytes"]) == (0, None, None)
    assert told["engine"]["available"] is False
    assert told["engine"]["error"]["code"] == "NETWORK_ERROR"


def test_only_the_first_problems_are_told() -> None:
    problems = [Problem(f"images[{n}]", "is wrong") for n in range(100)]
    told = wire(summary_message(ORIGIN, (), EngineStatus(), problems, 0))
    assert told["configurationProblems"][0] == "images[0]: is wrong"
    assert len(told["configurationProblems"]) == 10


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        ((), None),
        ((ImageState.READY,), ImageState.READY),
        ((ImageState.READY, ImageState.QUEUED), ImageState.QUEUED),
        ((ImageState.PULLING, ImageState.QUEUED), ImageState.PULLING),
        ((ImageState.PULLING, ImageState.RETRYING), ImageState.RETRYING),
        ((ImageState.FAILED, ImageState.RETRYING), ImageState.FAILED),
        ((ImageState.REMOVED,), None),
    ],
)
def test_the_worst_state_comes_first(
    states: tuple[ImageState, ...], worst: ImageState | None
) -> None:
    assert worst_state(states) is worst


TEXTS = st.text(max_size=3_000) | st.text(alphabet='é"\\\x00\n🐳a', max_size=50).map(
    lambda t: t * 100
)


@pytest.mark.parametrize("text", ["", "short", "x" * 300, "ä" * 10])
def test_a_text_that_fits_is_left_alone(text: str) -> None:
    assert shorten(text, 300) == text


@pytest.mark.parametrize("letter", ["x", "€", "🐳"])
def test_a_text_that_is_too_long_is_cut_and_says_so(letter: str) -> None:
    cut = shorten(letter * 1_000, 300)
    assert cut.endswith("…")
    assert set(cut[:-1]) == {letter}
    assert len(cut) >= 20


@given(TEXTS, st.integers(100, 1_000))
def test_a_shortened_text_is_the_beginning_of_the_whole(text: str, limit: int) -> None:
    cut = shorten(text, limit)
    assert cut == text or text.startswith(cut.removesuffix("…"))
    # JSON writes some characters longer than Python's own notation, by two to one at the most.
    assert len(json.dumps(cut)) <= 2 * limit + 10


@settings(max_examples=60)
@given(TEXTS, TEXTS, TEXTS)
def test_messages_of_images_stay_small(uri: str, message: str, hint: str) -> None:
    update = ImageUpdate(
        ImageState.RETRYING,
        attempt=10**6,
        retry_at=1e9,
        error=error(message, hint),
        digest="sha256:" + "a" * 128,
        image=LocalImage("sha256:" + "b" * 64, 10**15),
        duration_seconds=1e9,
    )
    wire(image_message(Origin("t" * 128, "c" * 128), uri, update, 1e9))


def passed(*updates: tuple[float, ImageUpdate]) -> list[float]:
    throttle = Throttle()
    return [now for now, update in updates if throttle.passes(update, now)]


def test_every_change_of_state_passes_at_once() -> None:
    queued, retrying = ImageUpdate(ImageState.QUEUED), ImageUpdate(ImageState.RETRYING, 1)
    updates = [queued, pulling(0), retrying, pulling(0, attempt=2), ImageUpdate(ImageState.READY)]
    assert passed(*((0.0, update) for update in updates)) == [0.0] * 5


def test_the_same_again_does_not_pass() -> None:
    queued = ImageUpdate(ImageState.QUEUED)
    assert passed((0, queued), (100, queued), (200, queued)) == [0]


def test_progress_passes_once_a_second_and_only_where_it_is_progress() -> None:
    assert passed(
        (0.0, pulling(0)),
        (0.5, pulling(10)),
        (1.0, pulling(20)),
        (1.9, pulling(50)),
        (2.5, pulling(20)),
        (2.6, pulling(51)),
        (9.0, pulling(51)),
    ) == [0.0, 1.0, 2.6]


def test_another_stage_is_progress() -> None:
    assert passed((0, pulling(70)), (0.5, pulling(70, Stage.EXTRACTING))) == [0]
    assert passed((0, pulling(70)), (1.5, pulling(70, Stage.EXTRACTING))) == [0, 1.5]


def test_another_error_or_digest_is_a_change() -> None:
    first, second = error(), error()
    assert passed(
        (0.0, ImageUpdate(ImageState.READY, error=first)),
        (0.1, ImageUpdate(ImageState.READY, error=first)),
        (0.2, ImageUpdate(ImageState.READY, error=second)),
        (0.3, ImageUpdate(ImageState.READY, digest="sha256:a")),
        (0.4, ImageUpdate(ImageState.READY, digest="sha256:b")),
    ) == [0.0, 0.2, 0.3, 0.4]


@pytest.mark.parametrize("letter", ['"', "é", "\x01", "😀"])
def test_a_summary_of_long_problems_stays_small(letter: str) -> None:
    engine = EngineStatus(error=error(letter * 5_000, letter * 5_000))
    problems = [Problem("images[0]", letter * 1_000)] * 20
    wire(summary_message(Origin("t" * 128, "c" * 128), (), engine, problems, 0))
