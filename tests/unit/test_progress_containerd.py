"""Pull events recorded from Docker 26.1 with containerd's image store become progress.

There the engine says how much of a layer has come in steps of 1 MiB, so nothing of a small one; the
same again ten times a second, whether more has come or not; and nothing of layers that were here
before, nor of extraction.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dockermgr.progress import Progress, PullProgress, Stage

STREAMS = Path(__file__).parents[1] / "fixtures" / "pull_streams"
LAYER_BYTES, LARGE_LAYER_BYTES = 3_154_183, 62_929_623


def replay(name: str) -> tuple[PullProgress, list[Progress]]:
    progress, seen = PullProgress(), []
    for line in (STREAMS / f"containerd_{name}.jsonl").read_text(encoding="utf-8").splitlines():
        event: dict[str, Any] = json.loads(line)
        progress.feed(event)
        seen.append(progress.progress)
    return progress, seen


@pytest.mark.parametrize(
    ("name", "total_bytes"),
    [("fresh", 3 * LAYER_BYTES), ("large", 2 * LARGE_LAYER_BYTES), ("partly_present", 0)],
)
def test_downloads_are_followed(name: str, total_bytes: int) -> None:
    _, seen = replay(name)
    percents = [look.percent for look in seen]
    assert percents == sorted(percents)
    assert all(0 <= look.downloaded_bytes <= look.total_bytes for look in seen)
    assert (seen[-1].downloaded_bytes, seen[-1].total_bytes) == (total_bytes, total_bytes)
    stages = list(dict.fromkeys(look.stage for look in seen))
    assert stages[:3] == [Stage.RESOLVING, Stage.DOWNLOADING, Stage.EXTRACTING]


@pytest.mark.parametrize("name", ["all_layers_present", "up_to_date"])
def test_nothing_to_download_counts_nothing(name: str) -> None:
    _, seen = replay(name)
    assert {(look.downloaded_bytes, look.total_bytes) for look in seen} == {(0, 0)}


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("fresh", "sha256:d37781096a35ae0fcce43be84fec87f7322f8bb9891a382e83736723ad71437a"),
        ("up_to_date", "sha256:d37781096a35ae0fcce43be84fec87f7322f8bb9891a382e83736723ad71437a"),
        (
            "partly_present",
            "sha256:96b6939d53e25fb6a55db3d40fc8167f96658945f7545191f1c1f3ea502e8461",
        ),
    ],
)
def test_the_digest_is_the_manifests(name: str, digest: str) -> None:
    progress, _ = replay(name)
    assert progress.digest == digest


@pytest.mark.parametrize("name", ["fresh", "large", "partly_present", "all_layers_present"])
def test_the_end_of_the_stream_is_the_end(name: str) -> None:
    progress, seen = replay(name)
    progress.finish()
    last = seen[-1]
    assert progress.progress == Progress(
        Stage.COMPLETE, last.downloaded_bytes, last.total_bytes, 100
    )


def test_silence_is_a_dead_connection_only_while_bytes_come() -> None:
    progress = PullProgress()
    receiving = []
    for line in (STREAMS / "containerd_fresh.jsonl").read_text(encoding="utf-8").splitlines():
        progress.feed(json.loads(line))
        receiving.append(progress.receiving)
    assert receiving == [False] * 5 + [True] * 6 + [False] * 3


def test_podman_is_given_time_to_extract() -> None:
    progress = PullProgress()
    for status in ("Pulling fs layer", "Downloading"):
        progress.feed({"id": "a", "status": status, "progressDetail": {"current": 1, "total": 2}})
    assert not progress.receiving
