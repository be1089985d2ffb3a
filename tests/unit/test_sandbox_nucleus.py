"""The pure rules of the nucleus model: configuration, access control, topics."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.nucleus.rules import (
    as_lite_recipe_configuration,
    count_subobjects,
    has_mqtt_wildcard,
    is_authorized,
    merge_configuration,
    remove_configuration,
    topic_matches,
)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(st.text(max_size=3), _JSON, max_size=4)


def test_lite_has_the_scalars_of_a_yaml_recipe_as_strings() -> None:
    configuration = {"a": 20, "b": True, "c": None, "d": {"e": [1, {"f": False}]}, "g": "text"}

    assert as_lite_recipe_configuration(configuration) == {
        "a": "20",
        "b": "true",
        "c": "null",
        "d": {"e": ["1", {"f": "false"}]},
        "g": "text",
    }


def test_merge_keeps_siblings_and_names_the_changed_leaves() -> None:
    target: dict[str, Any] = {"retry": {"initial": 1, "max": 300}, "images": ["a"]}

    changed = merge_configuration(target, {"retry": {"max": 60, "initial": 1}, "images": ["b"]})

    assert target == {"retry": {"initial": 1, "max": 60}, "images": ["b"]}
    assert changed == [("retry", "max"), ("images",)]


@given(_OBJECTS, _OBJECTS)
def test_a_second_merge_of_the_same_changes_nothing(
    target: dict[str, Any], changes: dict[str, Any]
) -> None:
    merge_configuration(target, changes)

    assert merge_configuration(target, changes) == []


def test_a_merge_is_not_changed_by_what_happens_to_its_source() -> None:
    source = {"images": ["a"]}
    target: dict[str, Any] = {}
    merge_configuration(target, source)

    source["images"].append("b")

    assert target == {"images": ["a"]}


@pytest.mark.parametrize(
    ("path", "existed", "left"),
    [
        (("a", "b"), True, {"a": {"c": 2}, "d": 3}),
        (("a",), True, {"d": 3}),
        ((), True, {}),
        (("a", "x"), False, {"a": {"b": 1, "c": 2}, "d": 3}),
        (("d", "x"), False, {"a": {"b": 1, "c": 2}, "d": 3}),
        (("x", "y"), False, {"a": {"b": 1, "c": 2}, "d": 3}),
    ],
)
def test_remove_configuration(path: tuple[str, ...], existed: bool, left: dict[str, Any]) -> None:
    target: dict[str, Any] = {"a": {"b": 1, "c": 2}, "d": 3}

    assert remove_configuration(target, path) is existed
    assert target == left


@pytest.mark.parametrize(
    ("pattern", "topic", "local", "iot_core"),
    [
        ("*", "a/b", True, True),
        ("a/b", "a/b", True, True),
        ("a/b", "a/b/c", False, False),
        ("a/*", "a/b/c", True, True),
        ("*/c", "a/b/c", True, True),
        ("a*c", "abd", False, False),
        ("a/+/c", "a/b/c", False, True),
        ("a/+/c", "a/+/c", True, True),
        ("a/+", "a/b/c", False, False),
        ("a/#", "a/b/c", False, True),
        ("a/#", "a/#", True, True),
        ("a+/b", "ax/b", False, False),
        ("a/${*}", "a/*", True, True),
        ("a/${*}", "a/b", False, False),
        ("a.c", "abc", False, False),
    ],
)
def test_resources_of_access_control(pattern: str, topic: str, local: bool, iot_core: bool) -> None:
    policy = {"policy": {"operations": ["*"], "resources": [pattern]}}
    access_control = {"aws.greengrass.ipc.pubsub": policy, "aws.greengrass.ipc.mqttproxy": policy}

    assert (
        is_authorized(access_control, "aws.greengrass.ipc.pubsub", "PublishToTopic", topic) is local
    )
    assert (
        is_authorized(access_control, "aws.greengrass.ipc.mqttproxy", "PublishToIoTCore", topic)
        is iot_core
    )


def test_access_control_is_by_service_and_operation() -> None:
    access_control = {
        "aws.greengrass.ipc.pubsub": {
            "none": {"operations": ["aws.greengrass#SubscribeToTopic"], "resources": ["a"]},
            "some": {"operations": ["aws.greengrass#PublishToTopic"], "resources": ["b", "c"]},
        }
    }

    def may(operation: str, topic: str, service: str = "aws.greengrass.ipc.pubsub") -> bool:
        return is_authorized(access_control, service, operation, topic)

    assert may("PublishToTopic", "c")
    assert not may("PublishToTopic", "a")
    assert not may("SubscribeToTopic", "b")
    assert not may("PublishToTopic", "c", "aws.greengrass.ipc.mqttproxy")
    assert not is_authorized({}, "aws.greengrass.ipc.pubsub", "PublishToTopic", "c")


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/+/c", "a/b/c", True),
        ("#", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "b/c", False),
        ("a/b/#", "a", False),
        ("+", "a", True),
        ("a", "a/b", False),
    ],
)
def test_topic_filters(topic_filter: str, topic: str, expected: bool) -> None:
    assert topic_matches(topic_filter, topic) is expected


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [("a/b", False), ("a/+/b", True), ("a/#", True), ("#/a", False), ("a+", False)],
)
def test_wildcards_are_whole_levels(topic_filter: str, expected: bool) -> None:
    assert has_mqtt_wildcard(topic_filter) is expected


def test_subobjects_are_counted_as_lite_does() -> None:
    assert count_subobjects("scalar") == 0
    assert count_subobjects([1, 2, 3]) == 3
    assert count_subobjects({"a": 1, "b": [1, 2]}) == 6
