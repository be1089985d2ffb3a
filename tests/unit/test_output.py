"""What `pull` prints: bars, lines or JSON."""

from __future__ import annotations

import io
import json
import os
import re
import time
from typing import Any

import pytest

from dockermgr import output
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.images import LocalImage
from dockermgr.output import Bars, JsonLines, Lines, describe, output_for
from dockermgr.progress import Progress, Stage
from dockermgr.redact import forget_secret, remember_secret

URI = "docker:nginx:1"
ERROR = DockermgrError(ErrorCode.NETWORK_ERROR, "away", hint="wait", retry=Retry.UNTIL_MENDED)
QUEUED = ImageUpdate(ImageState.QUEUED)
READY = ImageUpdate(
    ImageState.READY,
    attempt=1,
    digest="sha256:d",
    image=LocalImage("sha256:i", 2_500_000),
    duration_seconds=1.25,
)
FAILED = ImageUpdate(ImageState.FAILED, attempt=1, error=ERROR)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """The lines that a terminal would show."""
        lines: list[str] = []
        row = 0
        for part in re.split(r"(\x1b\[\d+[AK]|\n)", self.getvalue()):
            if part == "\n":
                row += 1
            elif part.endswith("A") and part.startswith("\x1b"):
                row -= int(part[2:-1])
            elif part == "\x1b[2K":
                lines[row : row + 1] = [""]
            elif part:
                lines[row : row + 1] = [part]
        return lines


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def pulling(percent: int, stage: Stage = Stage.DOWNLOADING) -> ImageUpdate:
    look = Progress(stage, percent * 10_000, 1_000_000, percent)
    return ImageUpdate(ImageState.PULLING, attempt=1, progress=look)


def retrying(in_seconds: float) -> ImageUpdate:
    return ImageUpdate(
        ImageState.RETRYING, attempt=2, retry_at=time.time() + in_seconds, error=ERROR
    )


def test_the_stream_decides_how() -> None:
    assert isinstance(output_for(io.StringIO(), as_json=True, component="c"), JsonLines)
    assert isinstance(output_for(Terminal(), as_json=True, component="c"), JsonLines)
    assert isinstance(output_for(io.StringIO(), as_json=False, component="c"), Lines)
    assert isinstance(output_for(Terminal(), as_json=False, component="c"), Bars)


@pytest.mark.parametrize(
    ("update", "text"),
    [
        (QUEUED, "QUEUED"),
        (READY, "READY sha256:d, 2.5 MB in 1.2 s"),
        (pulling(0, Stage.RESOLVING), "PULLING, asking the registry"),
        (pulling(40), "PULLING, downloading 40 % (0.4 of 1.0 MB)"),
        (pulling(90, Stage.EXTRACTING), "PULLING, extracting 90 % (0.9 of 1.0 MB)"),
        (FAILED, "FAILED NETWORK_ERROR: away (wait)"),
        (
            ImageUpdate(ImageState.READY, error=ERROR),
            "READY, but it could not be checked for a newer one: NETWORK_ERROR: away (wait)",
        ),
    ],
)
def test_an_update_in_words(update: ImageUpdate, text: str) -> None:
    assert describe(update) == text


def test_a_wait_is_counted_down_and_not_below_zero() -> None:
    assert re.fullmatch(
        r"RETRYING in (60\.0|59\.9) s after attempt 2: NETWORK_ERROR: away \(wait\)",
        describe(retrying(60)),
    )
    assert describe(retrying(-5)).startswith("RETRYING in 0.0 s")


def shown_lines(*updates: ImageUpdate) -> list[str]:
    stream = io.StringIO()
    lines = Lines(stream)
    for update in updates:
        lines.show(URI, update)
    lines.close()
    return stream.getvalue().splitlines()


def test_lines_are_for_steps_and_quarters() -> None:
    updates = [QUEUED, *(pulling(percent) for percent in range(0, 100, 3)), READY, READY]
    lines = shown_lines(*updates)
    assert [line.partition(": ")[0] for line in lines] == [URI] * 6
    assert lines[0] == f"{URI}: QUEUED"
    assert [re.findall(r"(\d+) %", line) for line in lines[1:5]] == [["0"], ["27"], ["51"], ["75"]]
    assert lines[5] == f"{URI}: READY sha256:d, 2.5 MB in 1.2 s"


def test_images_have_their_lines_each() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.show("docker:a:1", QUEUED)
    lines.show("docker:b:1", QUEUED)
    lines.show("docker:a:1", QUEUED)
    assert stream.getvalue().splitlines() == ["docker:a:1: QUEUED", "docker:b:1: QUEUED"]


def test_json_lines_are_the_messages_of_ipc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_IOT_THING_NAME", "thing")
    stream = io.StringIO()
    out = JsonLines(stream, "com.example.App")
    for update in (QUEUED, pulling(0), pulling(10), pulling(20), FAILED):
        out.show(URI, update)
    out.show("docker:b:1", QUEUED)
    out.close()
    told: list[dict[str, Any]] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(message["image"], message["state"]) for message in told] == [
        (URI, "QUEUED"),
        (URI, "PULLING"),
        (URI, "FAILED"),
        ("docker:b:1", "QUEUED"),
    ]
    assert {(message["thingName"], message["component"]) for message in told} == {
        ("thing", "com.example.App")
    }
    assert told[2]["error"]["code"] == "NETWORK_ERROR"


def test_bars_are_drawn_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "REDRAW_SECONDS", 0.0)
    terminal = Terminal()
    bars = Bars(terminal)
    for update in (QUEUED, pulling(50)):
        bars.show("docker:a:1", update)
        bars.show("docker:b:1", QUEUED)
    first, second = terminal.screen()
    assert first.startswith("[############............] downloading 50 % of 1.0 MB")
    assert first.endswith("docker:a:1")
    assert second.startswith("[........................] QUEUED")
    bars.show("docker:a:1", READY)
    bars.close()
    assert terminal.screen()[0].startswith("[########################] READY")
    assert len(terminal.screen()) == 2


def test_bars_say_in_full_what_went_wrong_at_the_end() -> None:
    terminal = Terminal()
    bars = Bars(terminal)
    bars.show("docker:a:1", retrying(60))
    assert "RETRYING NETWORK_ERROR" in terminal.screen()[0]
    bars.show("docker:a:1", FAILED)
    assert "away" not in terminal.getvalue()
    bars.close()
    assert terminal.screen()[1:] == ["docker:a:1: FAILED NETWORK_ERROR: away (wait)"]


def test_bars_are_not_drawn_oftener_than_one_can_read() -> None:
    terminal = Terminal()
    bars = Bars(terminal)
    bars.show(URI, pulling(0))
    before = terminal.getvalue()
    for percent in range(1, 50):
        bars.show(URI, pulling(percent))
    assert len(terminal.getvalue()) < 3 * len(before)
    bars.close()
    assert "49 %" in terminal.screen()[0]


@pytest.mark.parametrize("columns", [1, 10, 40, 60, 66, 80, 200])
def test_a_bar_fits_on_its_line(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((columns, 24)))
    terminal = Terminal()
    bars = Bars(terminal)
    uri = "docker:123456789012.dkr.ecr.us-east-1.amazonaws.com/team/application:1.27"
    for update in (QUEUED, pulling(0, Stage.RESOLVING), pulling(50), READY):
        bars.show(uri, update)
    bars.close()
    assert all(len(line) < max(columns, 2) for line in terminal.screen())
    if columns == 80:
        assert terminal.screen()[0].endswith(":1.27")


def test_secrets_in_an_error_are_masked() -> None:
    remember_secret("hunter2hunter2")
    try:
        text = describe(
            ImageUpdate(
                ImageState.FAILED,
                error=DockermgrError(ErrorCode.NETWORK_ERROR, "password hunter2hunter2"),
            )
        )
    finally:
        forget_secret("hunter2hunter2")
    assert "password ***" in text
