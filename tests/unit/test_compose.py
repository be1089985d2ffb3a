"""What is read out of a Compose file, and where it is wrong."""

from __future__ import annotations

import pytest
import yaml

from dockermgr.compose import (
    ComposeService,
    declared_version,
    override,
    parse_services,
    place_of,
    project_name,
    syntax_problem,
)
from dockermgr.config import ImageSpec
from dockermgr.errors import DockermgrError
from dockermgr.passthrough import FORWARD_NETWORK, Passthrough
from dockermgr.policy import PullPolicy

RESOLVED = """
services:
  web:
    image: registry.example.com/web:1
    pull_policy: always
    platform: linux/arm64
  debug:
    image: debug:2
    profiles: [debug]
  own:
    build: {context: /tmp}
    image: own:1
"""


def test_images_with_policy_and_platform_but_not_those_that_compose_builds() -> None:
    web = ImageSpec("docker:registry.example.com/web:1", PullPolicy.ALWAYS, "linux/arm64")

    assert parse_services(RESOLVED, ()) == (
        ComposeService("web", web),
        ComposeService("own", None),
    )


@pytest.mark.parametrize("profiles", [("debug",), ("other", "debug"), ("*",)])
def test_services_of_the_profiles_that_are_asked_for(profiles: tuple[str, ...]) -> None:
    names = [service.name for service in parse_services(RESOLVED, profiles)]

    assert names == ["web", "debug", "own"]


@pytest.mark.parametrize("resolved", ["", "[]", "services: 5", "services: {a: 5}", "a: ["])
def test_nonsense_is_an_error_of_ours(resolved: str) -> None:
    with pytest.raises(DockermgrError, match="what Compose made of the file"):
        parse_services(resolved, ())


def test_a_syntax_error_has_line_and_column() -> None:
    problem = syntax_problem("services:\n  web:\n    image: x\n   foo: [\n")

    assert problem is not None
    assert problem.startswith("line 4, column 4: ")


@pytest.mark.parametrize("text", ["", "- a\n", "just words"])
def test_what_is_no_map_is_no_compose_file(text: str) -> None:
    assert "no Compose file" in (syntax_problem(text) or "")


def test_a_proper_file_has_no_syntax_problem() -> None:
    assert syntax_problem(RESOLVED) is None


@pytest.mark.parametrize(
    ("complaint", "place"),
    [
        ("validating /x.yml: services.web.platform must be a string", "line 6: "),
        ("Unsupported config option for services.debug: 'imagee'", "line 7: "),
        ("Unsupported config option for services.debug: 'profiles'", "line 9: "),
        ("services.own.build.context contains an invalid type", "line 11: "),
        ("services.web Additional property platform is not allowed", "line 6: "),
        ("no such file", ""),
        ("services.absent.image is wrong", "line 2: "),
    ],
)
def test_a_complaint_of_compose_gets_its_line(complaint: str, place: str) -> None:
    assert place_of(complaint, RESOLVED) == place


@pytest.mark.parametrize(
    ("component", "name"),
    [("com.example.App", "com-example-app"), ("", ""), ("-.Odd..Name.", "odd-name")],
)
def test_a_project_is_named_after_its_component_in_each_version(component: str, name: str) -> None:
    assert project_name(component) == name


def test_an_override_has_no_values_and_as_little_as_possible() -> None:
    given = Passthrough({"SVCUID": "secret", "PLAIN": "x"}, ("/run/ipc.socket",))
    services = [ComposeService("web", None, has_init=True), ComposeService("db", None)]
    of_each = {"web": given, "db": Passthrough({})}
    text = override(services, of_each, {"label": "value"}, "3.8")

    assert "secret" not in text
    assert yaml.safe_load(text) == {
        "version": "3.8",
        "services": {
            "web": {
                "labels": {"label": "value"},
                "environment": ["SVCUID", "PLAIN"],
                "volumes": [
                    {"type": "bind", "source": "/run/ipc.socket", "target": "/run/ipc.socket"}
                ],
            },
            "db": {"labels": {"label": "value"}, "init": True},
        },
    }


@pytest.mark.parametrize(
    ("network", "added", "top"),
    [
        ("host", {"network_mode": "host"}, None),
        (
            FORWARD_NETWORK,
            {"networks": {"default": {}, FORWARD_NETWORK: {}}},
            {FORWARD_NETWORK: {"external": True}},
        ),
        (None, {}, None),
    ],
)
def test_networks(network: str | None, added: dict[str, object], top: object) -> None:
    given = {"web": Passthrough({}, network=network)}
    document = yaml.safe_load(override([ComposeService("web", None)], given, {}, None))

    assert document["services"]["web"] == {"labels": {}, "init": True, **added}
    assert document.get("networks") == top
    assert "version" not in document


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("version: '3.8'\nservices: {}", "3.8"),
        ("services: {}", None),
        ("- a", None),
        ("a: [", None),
    ],
)
def test_the_version_that_v1_wants_to_be_the_same(text: str, version: str | None) -> None:
    assert declared_version(text) == version
