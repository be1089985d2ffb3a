"""What is wanted against what is being worked on."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.config import ImageSpec
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.policy import PullPolicy
from dockermgr.reconcile import Wanted, desired_images, fingerprint, plan, to_request
from dockermgr.registry import RegistryKind

OWN = "io.dockermgr.DockerApplicationManager"


def wanted(uri: str, component: str = OWN) -> Wanted:
    return Wanted(component, ImageSpec(uri))


A, B, C = wanted("docker:a:1"), wanted("docker:b:1"), wanted("docker:c:1")


def test_only_what_changed_is_touched() -> None:
    actions = plan([A, B], [B, C])
    assert (actions.start, actions.stop, actions.keep) == ((C,), (A,), (B,))


def test_the_same_again_changes_nothing() -> None:
    actions = plan([A, B], [B, A])
    assert (actions.start, actions.stop) == ((), ())


def test_an_entry_is_begun_once() -> None:
    assert plan([], [A, A, B, A]).start == (A, B)


def test_a_changed_entry_is_begun_anew() -> None:
    changed = Wanted(OWN, dataclasses.replace(A.spec, pull_policy=PullPolicy.ALWAYS))
    actions = plan([A], [changed])
    assert (actions.start, actions.stop) == ((changed,), (A,))


def test_two_components_want_the_same_image_each_for_itself() -> None:
    other = wanted("docker:a:1", "com.example.App")
    assert plan([A], [A, other]).start == (other,)


ITEMS = st.lists(st.sampled_from([A, B, C, wanted("docker:a:1", "com.example.App")]))


@given(ITEMS.map(dict.fromkeys), ITEMS)
def test_after_the_plan_there_is_what_was_wanted(
    current: dict[Wanted, None], desired: list[Wanted]
) -> None:
    actions = plan(current, desired)
    after = [item for item in current if item not in actions.stop] + list(actions.start)
    assert sorted(map(repr, after)) == sorted(map(repr, set(desired)))
    assert set(actions.keep) == set(current) & set(desired)


def test_own_images_come_before_those_of_others() -> None:
    specs = [ImageSpec("docker:b:1")], {"com.example.App": [ImageSpec("docker:a:1")]}
    assert desired_images(OWN, *specs) == (B, wanted("docker:a:1", "com.example.App"))


def test_an_entry_becomes_a_request() -> None:
    uri = "docker:123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1"
    request = to_request(
        ImageSpec(uri, platform="linux/arm64"), PullPolicy.ALWAYS, "com.example.App"
    )
    assert request.uri == uri
    assert str(request.reference) == uri.removeprefix("docker:")
    assert request.registry.kind is RegistryKind.ECR_PRIVATE
    assert (request.policy, request.platform) == (PullPolicy.ALWAYS, "linux/arm64")
    assert request.component == "com.example.App"


def test_the_entrys_own_policy_comes_first() -> None:
    spec = ImageSpec("docker:nginx", PullPolicy.NEVER)
    assert to_request(spec, PullPolicy.ALWAYS).policy is PullPolicy.NEVER
    assert to_request(ImageSpec("docker:nginx"), None).policy is PullPolicy.ALWAYS
    assert to_request(ImageSpec("docker:nginx:1"), None).policy is PullPolicy.IF_NOT_PRESENT


@pytest.mark.parametrize("uri", ["", "nginx", "docker:", "docker:Nginx", "null"])
def test_a_uri_that_names_no_image_is_final(uri: str) -> None:
    with pytest.raises(DockermgrError) as caught:
        to_request(ImageSpec(uri), None)
    assert caught.value.code is ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID
    assert not caught.value.retryable


def test_fingerprints_are_those_that_earlier_versions_wrote() -> None:
    """They are in the state files of devices: one that changes makes a device a new one to us."""
    spec = ImageSpec("docker:a:1", PullPolicy.NEVER, "linux/arm64", required=False)
    assert fingerprint([]) == ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert fingerprint([A]) == ("942f8c10f481cba3f7df403cf53b74abdf8d46622ed33fbf7b54fb752a297898")
    assert fingerprint([A, Wanted("com.example.App", spec)]) == (
        "6dc69fdd7616248565a85e438e10dd2af40c7f73e5c3c39e4698448a50865952"
    )


def test_a_fingerprint_is_of_what_is_wanted_and_not_of_its_order() -> None:
    assert fingerprint([A, B]) == fingerprint([B, A])
    others = [
        B,
        Wanted("com.example.App", A.spec),
        Wanted(OWN, ImageSpec("docker:a:1", pull_policy=PullPolicy.ALWAYS)),
        Wanted(OWN, ImageSpec("docker:a:1", platform="linux/arm64")),
        Wanted(OWN, ImageSpec("docker:a:1", required=False)),
    ]
    assert len({fingerprint([each]) for each in (A, *others)}) == 6
