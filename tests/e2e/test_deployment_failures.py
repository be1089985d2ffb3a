"""A deployment with a wrong image fails fast; a device that once ran with its images does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.deploying import (
    MANAGED,
    MANAGER,
    PLAIN,
    both_run,
    containers,
    managed,
    manager,
    plain,
)
from tests.sandbox.demo import PRIVATE, PUBLIC
from tests.sandbox.deployment import Deployer, Outcome
from tests.sandbox.images import push_image
from tests.sandbox.ipc import Dialect, PublishedMessage
from tests.sandbox.nucleus.states import State

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]

WRONG = "docker:public.ecr.aws/library/tool:9.99"


def version_of(nucleus: Deployer) -> str:
    return nucleus.life(MANAGER).component.version


def test_a_first_deployment_with_a_wrong_image_fails_fast(
    nucleus: Deployer, tmp_path: Path
) -> None:
    outcome = nucleus.deploy(manager({"images": [PUBLIC, WRONG]}), managed(tmp_path, PUBLIC))

    states = nucleus.transcript.states_of(MANAGER)
    assert states.count(State.ERRORED) == 3
    assert State.RUNNING not in states
    said = nucleus.transcript.of(MANAGER)
    assert said.count("UpdateState(ERRORED)") == 3
    exits = [each for each in said if each.startswith("exit ")]
    assert len(exits) == 3
    assert State.STARTING not in nucleus.transcript.states_of(MANAGED)
    if nucleus.core.dialect is Dialect.JAVA:
        assert set(exits) <= {"exit 3", "exit -15"}  # its SIGTERM may be the quicker one
        assert outcome is Outcome.ROLLED_BACK  # to nothing at all
        assert states[-1] is State.STOPPED
    else:
        assert set(exits) == {"exit 3"}
        assert outcome is Outcome.FAILED
        assert states[-1] is State.BROKEN
    assert containers(nucleus.core, everything=True) == {}

    # The mend is another deployment.
    again = manager({"images": [PUBLIC]}), managed(tmp_path, PUBLIC)
    assert nucleus.deploy(*again) is Outcome.SUCCEEDED


def test_an_update_with_a_wrong_image_goes_back_to_what_was(
    nucleus: Deployer, next_version: Path, tmp_path: Path
) -> None:
    java = nucleus.core.dialect is Dialect.JAVA
    others = plain(tmp_path, PRIVATE), managed(tmp_path, PUBLIC)
    good = {"images": [PUBLIC], "components": [PLAIN]}
    assert nucleus.deploy(manager(good), *others) is Outcome.SUCCEEDED
    both_run(nucleus)
    before = version_of(nucleus)
    configuration = nucleus.core.configuration(MANAGER)

    outcome = nucleus.deploy(manager({"images": [PUBLIC, WRONG]}, next_version), *others)

    if java:
        assert outcome is Outcome.ROLLED_BACK
        assert version_of(nucleus) == before
        assert nucleus.core.configuration(MANAGER) == configuration
    else:
        assert outcome is Outcome.FAILED  # and Lite leaves it so, for the next deployment to mend
        assert nucleus.life(MANAGER).state is State.BROKEN
        assert containers(nucleus.core, everything=True) == {}
        assert nucleus.deploy(manager(good), *others) is Outcome.SUCCEEDED
        assert version_of(nucleus) == before
    both_run(nucleus)


def test_a_device_that_once_ran_with_its_images_runs_with_them_whatever_the_registry_says(
    nucleus: Deployer, next_version: Path
) -> None:
    registry = nucleus.core.device.public
    pushed = push_image(registry, "library/gone", "1.0", labels={"only": "here"})
    gone = "docker:public.ecr.aws/library/gone:1.0"
    assert nucleus.deploy(manager({"images": [gone]})) is Outcome.SUCCEEDED
    nucleus.core.device.engine.remove_images()
    registry.delete_manifest("library/gone", pushed.manifest_digest)

    # A later version, and the former one again: what it takes for the same images stays the same.
    assert nucleus.deploy(manager(build=next_version)) is Outcome.SUCCEEDED
    assert nucleus.deploy(manager({"maxConcurrentPulls": 2})) is Outcome.SUCCEEDED

    assert State.ERRORED not in nucleus.transcript.states_of(MANAGER)
    message = nucleus.core.ipc.wait_for(
        PublishedMessage, lambda m: m.json().get("image") == gone and m.json()["state"] == "FAILED"
    )
    assert message.json()["error"]["code"] == "DOCKER_IMAGE_NOT_VALID"


def test_an_update_of_the_list_alone(nucleus: Deployer) -> None:
    """Java restarts nothing: the image is a status. Lite starts it anew: the deployment fails."""
    assert nucleus.deploy(manager({"images": [PUBLIC]})) is Outcome.SUCCEEDED

    outcome = nucleus.deploy(manager({"images": [PUBLIC, WRONG]}))

    nucleus.core.ipc.wait_for(
        PublishedMessage, lambda m: m.json().get("image") == WRONG and m.json()["state"] == "FAILED"
    )
    if nucleus.core.dialect is Dialect.JAVA:
        assert outcome is Outcome.SUCCEEDED
        assert nucleus.transcript.states_of(MANAGER).count(State.STARTING) == 1
    else:
        assert outcome is Outcome.FAILED
        good = manager({"images": [PUBLIC], "startup": {"onFailure": "continue"}})
        assert nucleus.deploy(good) is Outcome.SUCCEEDED
        # As README says for fleets of Lite: then it goes on, and says what is wrong.
        assert nucleus.deploy(manager({"images": [PUBLIC, WRONG]})) is Outcome.SUCCEEDED
