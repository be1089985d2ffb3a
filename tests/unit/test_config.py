"""The component's configuration: every shape it arrives in, and every way it can be wrong."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockermgr.config import (
    CONFIGURATION_KEYS,
    Config,
    ImageSpec,
    RegistryConfig,
    parse_config,
    parse_dependent_images,
)
from dockermgr.policy import PullPolicy


def problems_of(raw: object) -> dict[str, str]:
    return {problem.path: problem.message for problem in parse_config(raw)[1]}


def test_nothing_configured_means_the_documented_defaults() -> None:
    config, problems = parse_config({})
    assert problems == ()
    assert config == Config()
    assert (config.images, config.components, config.pull_policy) == ((), (), None)
    assert config.max_concurrent_pulls == 3
    assert (config.startup.wait_seconds, config.startup.fail_on_error) == (240, True)
    retry, timeouts, status = config.retry, config.timeouts, config.status
    assert (retry.initial_seconds, retry.max_seconds, retry.max_attempts) == (1, 300, 30)
    assert (timeouts.first_byte_seconds, timeouts.stall_seconds) == (300, 120)
    assert (timeouts.extract_stall_seconds, timeouts.total_seconds) == (900, 0)
    assert (dict(config.registries), config.allowed_registries) == ({}, ())
    assert config.require_digest is False
    assert (status.topic, status.image_topic) == ("dockermgr/status", "dockermgr/status/image")
    assert (status.iot_core_topic, status.min_interval_seconds) == ("", 10)
    assert status.heartbeat_seconds == 300


DOCUMENTED_DEFAULTS: dict[str, Any] = {
    "images": [],
    "components": [],
    "pullPolicy": "",
    "maxConcurrentPulls": 3,
    "startup": {"waitSeconds": 240, "onFailure": "error"},
    "retry": {"initialSeconds": 1, "maxSeconds": 300, "maxAttempts": 30},
    "timeouts": {
        "firstByteSeconds": 300,
        "stallSeconds": 120,
        "extractStallSeconds": 900,
        "totalSeconds": 0,
    },
    "registries": {},
    "allowedRegistries": [],
    "requireDigest": False,
    "status": {
        "topic": "dockermgr/status",
        "iotCoreTopic": "",
        "minIntervalSeconds": 10,
        "heartbeatSeconds": 300,
    },
    "cleanup": {
        "enabled": True,
        "minAgeHours": 24,
        "highDiskPercent": 85,
        "lowDiskPercent": 80,
        "keepPrevious": 1,
    },
    "minFreeBytes": 0,
}


def test_the_documented_defaults_may_be_written_down() -> None:
    assert set(DOCUMENTED_DEFAULTS) == set(CONFIGURATION_KEYS)
    assert parse_config(DOCUMENTED_DEFAULTS) == (Config(), ())


def _stringly(value: object) -> object:
    """As Lite hands on what a recipe says: every scalar is a string."""
    if isinstance(value, dict):
        return {key: _stringly(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_stringly(item) for item in value]
    return json.dumps(value) if not isinstance(value, str) else value


def _floating(value: object) -> object:
    """As the Java nucleus hands on numbers."""
    if isinstance(value, dict):
        return {key: _floating(item) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


CONFIGURED: dict[str, Any] = {
    "images": ["docker:nginx:1", {"uri": "docker:app:2", "required": False}],
    "components": ["com.example.App"],
    "pullPolicy": "always",
    "maxConcurrentPulls": 5,
    "startup": {"waitSeconds": 60, "onFailure": "continue"},
    "retry": {"initialSeconds": 2, "maxSeconds": 20, "maxAttempts": 4},
    "timeouts": {"stallSeconds": 30},
    "requireDigest": True,
    "allowedRegistries": ["docker.io"],
    "registries": {"registry.example.com": {"username": "u", "passwordFile": "/run/p"}},
}


@pytest.mark.parametrize(
    "raw",
    [
        CONFIGURED,
        json.dumps(CONFIGURED),
        _stringly(CONFIGURED),
        _floating(CONFIGURED),
        {key: json.dumps(value) for key, value in CONFIGURED.items() if key != "pullPolicy"}
        | {"pullPolicy": "Always"},
    ],
    ids=["plain", "json-text", "strings", "floats", "json-text-per-key"],
)
def test_every_shape_of_a_value_means_the_same(raw: object) -> None:
    config, problems = parse_config(raw)
    assert problems == ()
    assert config.images == (
        ImageSpec("docker:nginx:1"),
        ImageSpec("docker:app:2", required=False),
    )
    assert config.components == ("com.example.App",)
    assert config.pull_policy is PullPolicy.ALWAYS
    assert config.max_concurrent_pulls == 5
    assert isinstance(config.max_concurrent_pulls, int)
    assert (config.startup.wait_seconds, config.startup.fail_on_error) == (60, False)
    assert (config.retry.initial_seconds, config.retry.max_attempts) == (2, 4)
    assert config.timeouts.stall_seconds == 30
    assert config.require_digest is True
    assert config.allowed_registries == ("docker.io",)
    assert config.registries == {"registry.example.com": RegistryConfig("u", "/run/p")}


def test_a_registrys_credentials_may_be_a_secret() -> None:
    config, problems = parse_config({"registries": {"h": {"secretArn": "arn:secret"}}})
    assert problems == ()
    assert config.registries == {"h": RegistryConfig(secret_arn="arn:secret")}


@pytest.mark.parametrize("absent", [None, "null", ""])
def test_null_is_absent_at_every_level(absent: object) -> None:
    assert parse_config(absent) == (Config(), ())
    assert parse_config(dict.fromkeys(CONFIGURATION_KEYS, absent)) == (Config(), ())
    nested = {
        key: dict.fromkeys(value, absent)
        for key, value in DOCUMENTED_DEFAULTS.items()
        if isinstance(value, dict)
    }
    assert parse_config(nested) == (Config(), ())


@pytest.mark.parametrize(
    ("raw", "path", "says"),
    [
        (5, "", "must be a map, is 5"),
        ([1], "", "must be a map"),
        ("yes", "", "must be a map, is 'yes'"),
        ({"image": []}, "image", "is not a known key, so it has no effect; did you mean images?"),
        ({"zzz": 1}, "zzz", "is not a known key, so it has no effect"),
        ({"images": 5}, "images", "must be a list, is 5"),
        ({"images": "docker:nginx"}, "images", "must be a list"),
        ({"images": {"uri": "docker:nginx"}}, "images", "must be a list"),
        ({"images": ["docker:a:1", 5]}, "images[1]", "must be a string or a map, is 5"),
        ({"images": [None]}, "images[0]", "must be a string or a map"),
        ({"images": [{}]}, "images[0].uri", "is missing"),
        ({"images": [{"uri": "docker:a", "polcy": 1}]}, "images[0].polcy", "not a known key"),
        (
            {"images": [{"uri": "docker:a", "pullPolicy": "Often"}]},
            "images[0].pullPolicy",
            "must be one of Always, IfNotPresent, Never, is 'Often'; it has no effect",
        ),
        (
            {"images": [{"uri": "docker:a", "required": "perhaps"}]},
            "images[0].required",
            "must be true or false",
        ),
        ({"images": [{"uri": "docker:a", "platform": 3}]}, "images[0].platform", "a string"),
        ({"components": [{"name": "a"}]}, "components[0]", "must be a non-empty string"),
        ({"components": [" "]}, "components[0]", "must be a non-empty string"),
        ({"components": "com.example.App"}, "components", "must be a list"),
        ({"pullPolicy": True}, "pullPolicy", "must be a string, is True"),
        ({"maxConcurrentPulls": 0}, "maxConcurrentPulls", "at least 1, is 0; 3 applies"),
        ({"maxConcurrentPulls": "two"}, "maxConcurrentPulls", "must be a number"),
        ({"maxConcurrentPulls": 2.5}, "maxConcurrentPulls", "must be a whole number, is 2.5"),
        ({"maxConcurrentPulls": True}, "maxConcurrentPulls", "must be a number"),
        ({"maxConcurrentPulls": 10**400}, "maxConcurrentPulls", "must be a number"),
        ({"startup": 5}, "startup", "must be a map, is 5"),
        ({"startup": {"waitSecs": 5}}, "startup.waitSecs", "did you mean waitSeconds?"),
        ({"startup": {"waitSeconds": -1}}, "startup.waitSeconds", "at least 0"),
        ({"startup": {"onFailure": "panic"}}, "startup.onFailure", "one of error, continue"),
        ({"retry": {"initialSeconds": "inf"}}, "retry.initialSeconds", "must be a number"),
        ({"retry": {"maxAttempts": "nan"}}, "retry.maxAttempts", "must be a number"),
        ({"retry": {"maxAttempts": []}}, "retry.maxAttempts", "must be a number"),
        ({"timeouts": []}, "timeouts", "must be a map"),
        ({"timeouts": {"stallSecond": 1}}, "timeouts.stallSecond", "did you mean stallSeconds?"),
        ({"registries": "x"}, "registries", "must be a map, is 'x'"),
        ({"registries": {"h": 5}}, "registries.h", "must be a map, is 5"),
        ({"registries": {"h": {"username": "u"}}}, "registries.h", "needs both"),
        ({"registries": {"h": {"passwordFile": "/p"}}}, "registries.h", "needs both"),
        ({"registries": {"h": {"mirrors": "m"}}}, "registries.h.mirrors", "must be a list"),
        (
            {"registries": {"h": {"mirrors": ["m.example.com", "mirror"]}}},
            "registries.h.mirrors[1]",
            "must be host or host/path, is 'mirror'",
        ),
        (
            {"registries": {"h": {"mirrors": ["https://m.example.com"]}}},
            "registries.h.mirrors[0]",
            "must be host",
        ),
        (
            {"registries": {"h": {"secretArn": "arn", "username": "u", "passwordFile": "/p"}}},
            "registries.h",
            "takes either secretArn, or username and passwordFile",
        ),
        ({"registries": {"h": {"password": "p"}}}, "registries.h.password", "not a known key"),
        ({"allowedRegistries": [1]}, "allowedRegistries[0]", "must be a string or a map"),
        ({"requireDigest": "maybe"}, "requireDigest", "must be true or false"),
        ({"status": {"topics": "x"}}, "status.topics", "did you mean topic?"),
        ({"status": {"heartbeatSeconds": 0}}, "status.heartbeatSeconds", "at least 1"),
        ({"status": {"topic": 7}}, "status.topic", "must be a string, is 7"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(raw: object, path: str, says: str) -> None:
    problems = problems_of(raw)
    assert set(problems) == {path}
    assert says in problems[path]


def test_one_wrong_value_leaves_the_others_in_force() -> None:
    config, problems = parse_config(
        {"images": ["docker:a:1", 7, "docker:b:1"], "retry": {"maxAttempts": -1, "maxSeconds": 9}}
    )
    assert [spec.uri for spec in config.images] == ["docker:a:1", "docker:b:1"]
    assert (config.retry.max_attempts, config.retry.max_seconds) == (30, 9)
    assert len(problems) == 2


def test_the_longest_wait_is_never_shorter_than_the_first() -> None:
    config, _ = parse_config({"retry": {"initialSeconds": 60, "maxSeconds": 5}})
    assert config.retry.max_seconds == 60


def test_the_nucleus_keeps_its_own_key_in_the_configuration() -> None:
    assert problems_of({"accessControl": {"aws.greengrass.ipc.pubsub": {}}}) == {}


def test_an_empty_topic_falls_back() -> None:
    assert parse_config({"status": {"topic": " "}})[0].status.topic == "dockermgr/status"


def test_an_image_may_say_everything() -> None:
    specs, problems = parse_dependent_images(
        [
            {
                "uri": " docker:a:1 ",
                "pullPolicy": "NEVER",
                "platform": "linux/arm64",
                "required": "no",
            }
        ]
    )
    assert problems == ()
    assert specs == (ImageSpec("docker:a:1", PullPolicy.NEVER, "linux/arm64", required=False),)


@pytest.mark.parametrize("raw", [None, [], "[]", "null", ""])
def test_a_component_may_ask_for_no_images(raw: object) -> None:
    assert parse_dependent_images(raw) == ((), ())


def test_a_components_list_is_reported_under_its_own_key() -> None:
    _, (problem,) = parse_dependent_images({"docker": "nginx"})
    assert problem.path == "dockerImages"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.sampled_from(["{", "[1", '{"uri": "docker:a"}', "[]", "null", "1e999", "-1", "true"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [*CONFIGURATION_KEYS, "uri", "waitSeconds", "maxAttempts", "topic", "username", "x"]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=200)
@given(JSON)
def test_any_json_value_gives_a_usable_configuration(raw: object) -> None:
    for shape in (raw, json.dumps(raw)):
        config, problems = parse_config(shape)
        assert config.max_concurrent_pulls >= 1
        assert config.retry.max_attempts >= 1
        assert math.isfinite(config.retry.max_seconds)
        assert config.retry.max_seconds >= config.retry.initial_seconds
        assert all(str(problem) and problem.message for problem in problems)
        parse_dependent_images(shape)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "maps"])
def test_json_text_nested_too_deep_stays_text(text: str) -> None:
    assert [problem.path for problem in parse_config(text)[1]] == [""]
    assert [problem.path for problem in parse_dependent_images(text)[1]] == ["dockerImages"]
    # A name like any other, which its own image's job refuses.
    assert [image.uri for image in parse_config({"images": [text]})[0].images] == [text]


def test_a_list_within_the_list_of_images_is_a_problem() -> None:
    images, problems = parse_dependent_images(["[1]"])
    assert images == ()
    assert [str(problem).partition(":")[0] for problem in problems] == ["dockerImages[0]"]


def test_a_registrys_host_is_known_in_lower_case() -> None:
    entry = {"username": "robot", "passwordFile": "/password"}
    config, problems = parse_config({"registries": {"Registry.Example.com": entry}})
    assert problems == ()
    assert dict(config.registries) == {"registry.example.com": RegistryConfig("robot", "/password")}


def test_no_number_is_too_large_for_a_threads_timeout() -> None:
    config, _ = parse_config(
        {
            "retry": {"initialSeconds": 1e300, "maxSeconds": 1e300},
            "status": {"heartbeatSeconds": 1e300},
            "startup": {"waitSeconds": 1e300},
        }
    )
    assert config.retry.max_seconds <= threading.TIMEOUT_MAX
    assert config.status.heartbeat_seconds <= threading.TIMEOUT_MAX
    assert config.startup.wait_seconds <= threading.TIMEOUT_MAX


@pytest.mark.parametrize(("value", "insecure"), [("false", False), (True, True), ("true", True)])
def test_a_registry_may_be_insecure(value: object, insecure: bool) -> None:
    config, problems = parse_config({"registries": {"Host.example": {"insecure": value}}})

    assert config.registry("host.example").insecure is insecure
    assert problems == ()


def test_amazons_registries_are_never_insecure() -> None:
    host = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    config, problems = parse_config({"registries": {host: {"insecure": True}}})

    assert not config.registry(host).insecure
    assert [problem.path for problem in problems] == [f"registries.{host}.insecure"]


def test_mirrors_are_hosts_or_prefixes_in_order() -> None:
    mirrors = ["cache.example.com:5000/", "123456789012.dkr.ecr.us-east-1.amazonaws.com/docker-hub"]
    config, problems = parse_config({"registries": {"docker.io": {"mirrors": mirrors}}})

    assert config.registry("docker.io").mirrors == ("cache.example.com:5000", mirrors[1])
    assert problems == ()
