"""What `dockermgr status` makes of what is known."""

from __future__ import annotations

from typing import Any

from dockermgr.containers import Container
from dockermgr.images import LocalImage, LocalImages
from dockermgr.overview import NOBODY, Holdings, as_text, overview
from dockermgr.snapshot import Snapshot
from dockermgr.state import PulledImage

SUMMARY: dict[str, Any] = {
    "timestamp": "2026-01-31T12:00:00.000Z",
    "engine": {"available": True, "version": "26.1", "error": None},
    "freeBytes": 12_345_678_901,
    "configurationProblems": ["images[0]: must be a string"],
}
RETRYING: dict[str, Any] = {
    "component": "com.example.App",
    "image": "docker:nginx:1",
    "state": "RETRYING",
    "retryAt": "2026-01-31T12:00:05.000Z",
    "sizeBytes": None,
    "progress": None,
    "error": {"code": "NETWORK_ERROR", "message": "no route", "hint": "check the network"},
}
NGINX = "docker.io/library/nginx:1"


def record(component: str, reference: str = NGINX) -> PulledImage:
    return PulledImage(reference, component, "sha256:1", None, 5_000_000, 0.0)


def test_an_image_that_the_service_follows_is_shown_once_in_its_words() -> None:
    seen = overview(Snapshot(SUMMARY, (RETRYING,), serving=True), [record("com.example.App")], None)

    assert seen["components"] == {
        "com.example.App": {"images": [RETRYING], "containers": []},
    }


def test_the_same_image_of_another_component_is_its_own() -> None:
    seen = overview(Snapshot(SUMMARY, (RETRYING,), serving=True), [record("other")], None)

    assert sorted(seen["components"]) == ["com.example.App", "other"]  # type: ignore[call-overload]


def test_text_has_a_line_for_each_image_and_container() -> None:
    container = Container(
        "id", "app", "com.example.App", "running", None, "nginx:1", "Up 3 minutes"
    )
    holdings = Holdings(LocalImages([LocalImage("sha256:1", 1, ("nginx:1",))]), (container,))
    seen = overview(Snapshot(SUMMARY, (RETRYING,), serving=False), [record("")], holdings)

    assert as_text(seen, 0).splitlines() == [
        "manager: not running since 2026-01-31T12:00:00.000Z, engine 26.1, 12,345 MB free",
        "      configuration: images[0]: must be a string",
        "",
        NOBODY,
        "  READY     docker:docker.io/library/nginx:1  5.0 MB",
        "",
        "com.example.App",
        "  RETRYING  docker:nginx:1",
        "      NETWORK_ERROR: no route; next attempt 2026-01-31T12:00:05.000Z",
        "      to do: check the network",
        "  container app: Up 3 minutes (nginx:1)",
        "",
        "more of each code: docs/troubleshooting.md",
    ]


def test_on_a_terminal_nothing_of_an_error_is_cut() -> None:
    error = {**RETRYING["error"], "hint": "ask whoever runs the network " * 5}
    images = ({**RETRYING, "image": f"docker:{'n' * 60}", "error": error},)
    text = as_text(overview(Snapshot(SUMMARY, images, serving=True), [], None), 50)

    assert all(len(line) <= 50 for line in text.splitlines())
    assert f"to do: {error['hint'].strip()}" in " ".join(text.split())


def test_an_engine_that_is_away_is_told_with_what_to_do() -> None:
    error = {"code": "DOCKER_SERVICE_UNAVAILABLE", "message": "no engine", "hint": "start it"}
    summary = {**SUMMARY, "engine": {"available": False, "version": None, "error": error}}
    text = as_text(overview(Snapshot(summary, (), serving=True), [], None), 0)

    assert text.splitlines()[:3] == [
        "manager: running, engine away, 12,345 MB free",
        "      DOCKER_SERVICE_UNAVAILABLE: no engine",
        "      to do: start it",
    ]


def test_nothing_at_all() -> None:
    assert as_text(overview(None, (), None), 80).splitlines()[0] == "manager: has not run here"
