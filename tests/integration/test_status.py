"""`dockermgr status` beside a running service, after its end, and without an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.harness import MANAGER, Finished, Harness
from tests.sandbox.images import push_image

pytestmark = pytest.mark.timeout(120)

TOOL, ABSENT, PULLED = "docker:tool:1.0", "docker:absent:1", "docker:pulled:1"
CONFIGURATION: dict[str, Any] = {
    "images": [TOOL, ABSENT],
    "startup": {"onFailure": "continue"},
}


def parsed(done: Finished) -> dict[str, Any]:
    seen = json.loads(done.out)
    assert isinstance(seen, dict)
    return seen


def states(seen: dict[str, Any], component: str = MANAGER) -> dict[str, str]:
    return {image["image"]: image["state"] for image in seen["components"][component]["images"]}


def test_images_are_shown_as_the_service_knows_them(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    with harness.service(CONFIGURATION):
        harness.wait_for_image(TOOL, "READY")
        harness.wait_for_image(ABSENT, "FAILED")
        harness.wait_for_word()
        seen = parsed(harness.run("status", "--json"))
        text = harness.run("status").out

    assert seen["manager"]["running"] is True
    assert seen["manager"]["counts"]["FAILED"] == 1
    assert states(seen) == {TOOL: "READY", ABSENT: "FAILED"}
    assert text.startswith("manager: running, engine ")
    assert f"\n{MANAGER}\n  READY     {TOOL}  " in text
    assert "\n      DOCKER_IMAGE_NOT_VALID: " in text
    assert "\n      to do: check the repository and the tag" in text


def test_after_the_end_of_the_service_its_last_word_remains(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    with harness.service({"images": [TOOL]}):
        harness.wait_for_image(TOOL, "READY")
        harness.wait_for_word()

    done = harness.run("status", "--json")

    assert done.code == 0
    assert parsed(done)["manager"]["running"] is False
    assert states(parsed(done)) == {TOOL: "READY"}


def test_what_a_command_pulled_is_shown_and_missed_when_it_is_gone(harness: Harness) -> None:
    push_image(harness.device.public, "library/pulled", "1")
    assert harness.run("pull", PULLED).code == 0
    component = harness.home.name
    image = "docker:docker.io/library/pulled:1"

    before = parsed(harness.run("status", "--json"))
    harness.device.engine.remove_images()
    after = parsed(harness.run("status", "--json"))

    assert before["manager"] is None
    assert states(before, component) == {image: "READY"}
    assert states(after, component) == {image: "REMOVED"}


def test_without_an_engine_it_says_so_and_shows_what_was_known(harness: Harness) -> None:
    push_image(harness.device.public, "library/pulled", "1")
    assert harness.run("pull", PULLED).code == 0

    done = harness.run("status", DOCKER_HOST="unix:///nowhere.sock")

    assert done.code == 5
    assert "DOCKER_SERVICE_UNAVAILABLE" in done.err
    assert "pulled:1" in done.out


def test_nothing_is_shown_as_nothing(harness: Harness) -> None:
    assert harness.run("status").out == "manager: has not run here\nno images, no containers\n"
