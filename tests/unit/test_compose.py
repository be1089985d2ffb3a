"""What is read out of a Compose file, and where it is wrong."""

from __future__ import annotations

import pytest

from dockermgr.compose import ComposeService, parse_services, place_of, syntax_problem
from dockermgr.config import ImageSpec
from dockermgr.errors import DockermgrError
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
        ("no such file", ""),
        ("services.absent.image is wrong", "line 2: "),
    ],
)
def test_a_complaint_of_compose_gets_its_line(complaint: str, place: str) -> None:
    assert place_of(complaint, RESOLVED) == place
