"""Pull events, recorded from an engine (20.10, classic store) or made up, become progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockermgr.progress import Progress, PullProgress, Stage

STREAMS = Path(__file__).parents[1] / "fixtures" / "pull_streams"


def recorded(name: str) -> list[dict[str, Any]]:
    lines = (STREAMS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def replay(events: list[dict[str, Any]]) -> tuple[PullProgress, list[Progress]]:
    progress, seen = PullProgress(), []
    for event in events:
        progress.feed(event)
        seen.append(progress.progress)
    return progress, seen


def layer(status: str, current: int = 0, total: int = 0, layer_id: str = "a") -> dict[str, Any]:
    detail = {"current": current, "total": total} if total else {}
    return {"id": layer_id, "status": status, "progressDetail": detail}


def assert_forward(seen: list[Progress]) -> None:
    percents = [look.percent for look in seen]
    assert percents == sorted(percents)
    assert all(0 <= look.percent <= 100 for look in seen)
    assert all(0 <= look.downloaded_bytes <= look.total_bytes for look in seen)


@pytest.mark.parametrize(
    ("name", "layers", "total_bytes"),
    [("fresh", 4, 1_098_723 + 3 * 3_154_183), ("partly_present", 1, 2_099_383)],
)
def test_a_pull_runs_to_the_end(name: str, layers: int, total_bytes: int) -> None:
    events = recorded(name)
    progress, seen = replay(events)
    assert_forward(seen)
    assert sum(event["status"] == "Pull complete" for event in events) == layers
    assert seen[-1] == Progress(Stage.COMPLETE, total_bytes, total_bytes, 100)
    assert progress.digest == next(
        event["status"].removeprefix("Digest: ")
        for event in events
        if event["status"].startswith("Digest: ")
    )
    stages = list(dict.fromkeys(look.stage for look in seen))
    assert stages == [Stage.RESOLVING, Stage.DOWNLOADING, Stage.EXTRACTING, Stage.COMPLETE]


@pytest.mark.parametrize("name", ["up_to_date", "all_layers_present"])
def test_nothing_to_download_counts_nothing(name: str) -> None:
    progress, seen = replay(recorded(name))
    assert {(look.downloaded_bytes, look.total_bytes) for look in seen} == {(0, 0)}
    assert_forward(seen)
    assert progress.digest is not None


def test_nothing_has_happened_yet() -> None:
    assert PullProgress().progress == Progress(Stage.RESOLVING, 0, 0, 0)


def test_downloading_is_seven_tenths() -> None:
    _, seen = replay([layer("Downloading", 50, 100), layer("Download complete")])
    assert [look.percent for look in seen] == [35, 70]
    assert seen[-1].stage is Stage.EXTRACTING


def test_extracting_is_the_rest() -> None:
    _, seen = replay([layer("Extracting", 50, 100), layer("Pull complete")])
    assert [look.percent for look in seen] == [85, 100]
    assert seen[0] == Progress(Stage.EXTRACTING, 100, 100, 85)


def test_layers_weigh_by_their_size() -> None:
    _, seen = replay(
        [
            layer("Downloading", 0, 900, "big"),
            layer("Downloading", 0, 100, "small"),
            layer("Pull complete", layer_id="small"),
            layer("Pull complete", layer_id="big"),
        ]
    )
    assert [look.percent for look in seen] == [0, 0, 10, 100]
    assert [look.total_bytes for look in seen] == [900, 1000, 1000, 1000]


def test_a_layer_of_unknown_size_is_waited_for() -> None:
    _, seen = replay(
        [
            layer("Pulling fs layer", layer_id="unknown"),
            layer("Downloading", 100, 100, "known"),
            layer("Pull complete", layer_id="known"),
        ]
    )
    assert seen[-1].percent == 50
    assert seen[-1].stage is Stage.DOWNLOADING


def test_a_download_that_begins_again_does_not_turn_percent_back() -> None:
    _, seen = replay([layer("Downloading", 50, 100), layer("Retrying in 5 seconds")])
    assert [look.percent for look in seen] == [35, 35]
    assert seen[-1].downloaded_bytes == 0


def test_seconds_of_the_containerd_store_are_no_bytes() -> None:
    _, seen = replay(
        [
            layer("Downloading", 1_000, 1_000),
            layer("Download complete"),
            {"id": "a", "status": "Extracting", "progressDetail": {"current": 3, "units": "s"}},
            layer("Pull complete"),
        ]
    )
    assert [look.total_bytes for look in seen] == [1_000] * 4
    assert [look.stage for look in seen][2:] == [Stage.EXTRACTING, Stage.COMPLETE]
    assert seen[-1].percent == 100


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"status": None},
        {"status": 5, "id": "a"},
        {"status": "Pulling from library/nginx", "id": "1.27"},
        {"status": "Status: Downloaded newer image for nginx:1.27"},
        {"status": "Downloading", "id": 7},
        {"id": "a", "progressDetail": {"current": 1, "total": 2}},
    ],
)
def test_what_is_not_of_a_layer_changes_nothing(event: Mapping[str, object]) -> None:
    progress = PullProgress()
    progress.feed(event)
    assert progress.progress == Progress(Stage.RESOLVING, 0, 0, 0)


@pytest.mark.parametrize("detail", [None, [], "x", {"current": "1", "total": None}, {"total": -1}])
def test_a_detail_that_makes_no_sense_is_no_progress(detail: object) -> None:
    progress = PullProgress()
    progress.feed({"id": "a", "status": "Downloading", "progressDetail": detail})
    assert progress.progress == Progress(Stage.DOWNLOADING, 0, 0, 0)


STATUSES = (
    "Pulling fs layer",
    "Waiting",
    "Downloading",
    "Verifying Checksum",
    "Download complete",
    "Extracting",
    "Pull complete",
    "Already exists",
    "Retrying in 3 seconds",
    "Digest: sha256:abc",
    "Pulling from library/x",
)
NUMBERS = st.one_of(st.none(), st.integers(-5, 10**12), st.floats(allow_nan=True), st.booleans())
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(STATUSES) | st.none() | st.text(max_size=5),
        "id": st.sampled_from(["a", "b", "c"]) | st.none() | st.integers(),
        "progressDetail": st.none()
        | st.fixed_dictionaries(
            {}, optional={"current": NUMBERS, "total": NUMBERS, "units": st.just("s")}
        ),
    },
)


@settings(max_examples=200)
@given(st.lists(EVENTS, max_size=30))
def test_any_events_in_any_order_only_go_forward(events: list[dict[str, Any]]) -> None:
    _, seen = replay(events)
    assert_forward(seen)


@settings(max_examples=100)
@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 10**12), min_size=1))
def test_every_finished_pull_ends_at_a_hundred(layers: dict[str, int]) -> None:
    events = [layer("Downloading", 1, total, name) for name, total in layers.items()]
    events += [layer("Pull complete", layer_id=name) for name in layers]
    _, seen = replay(events)
    total = sum(layers.values())
    assert seen[-1] == Progress(Stage.COMPLETE, total, total, 100)
