"""docs/publishing.md: its policies are valid, and it speaks of what the build makes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import botocore.session

from tests.e2e.pythons import SUPPORTED

PROJECT = Path(__file__).resolve().parents[2]
DOCS = (PROJECT / "docs/publishing.md").read_text(encoding="utf-8")
README = (PROJECT / "README.md").read_text(encoding="utf-8")
PYPROJECT = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
POLICIES: list[dict[str, Any]] = [
    json.loads(block) for block in re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)
]
ACTION = r"(?:s3|sts|ecr|ecr-public|greengrass|secretsmanager):[A-Z]\w+"
NOT_OPERATIONS = {
    "s3:ListBucket",  # the operation is ListObjects
    "sts:GetServiceBearerToken",  # asked for within ecr-public's GetAuthorizationToken
    "ecr:BatchImportUpstreamImage",  # asked for within a pull
}


def is_known(action: str) -> bool:
    """An action is called after its operation, but for those few."""
    service, _, name = action.partition(":")
    model = {"greengrass": "greengrassv2"}.get(service, service)
    operations = botocore.session.get_session().get_service_model(model).operation_names
    return name in operations or action in NOT_OPERATIONS


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_the_policies_have_the_form_of_policies() -> None:
    assert len(POLICIES) == 3
    for policy in POLICIES:
        assert policy.keys() == {"Version", "Statement"}
        assert policy["Version"] == "2012-10-17"
        names = [statement["Sid"] for statement in policy["Statement"]]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9]+", name) for name in names)
        for statement in policy["Statement"]:
            assert statement.keys() == {"Sid", "Effect", "Action", "Resource"}
            assert statement["Effect"] == "Allow"


def test_the_actions_are_actions_that_there_are() -> None:
    named = set(re.findall(rf"[\"`]({ACTION})[\"`]", DOCS + README))
    assert {action for action in named if not is_known(action)} == set()
    in_policies = {
        action
        for policy in POLICIES
        for statement in policy["Statement"]
        for action in listed(statement["Action"])
    }
    assert in_policies <= named
    assert not [action for action in in_policies if "*" in action]


def test_all_is_allowed_only_where_there_is_nothing_to_choose() -> None:
    anywhere = {
        action
        for policy in POLICIES
        for statement in policy["Statement"]
        for action in listed(statement["Action"])
        if "*" in listed(statement["Resource"])
    }
    assert anywhere == {
        "ecr:GetAuthorizationToken",
        "ecr-public:GetAuthorizationToken",
        "sts:GetServiceBearerToken",
    }


def test_the_publisher_may_do_it_for_what_gdk_config_says() -> None:
    config = json.loads((PROJECT / "gdk-config.json").read_text(encoding="utf-8"))
    ((name, component),) = config["component"].items()
    publish = component["publish"]
    bucket = f"arn:aws:s3:::{publish['bucket']}-{publish['region']}-123456789012"
    of_component = f"arn:aws:greengrass:{publish['region']}:123456789012:components:{name}"
    resources = [listed(statement["Resource"]) for statement in POLICIES[0]["Statement"]]
    assert resources == [
        [f"{bucket}/{name}/*"],
        [bucket],
        [of_component, f"{of_component}:versions:*"],
    ]
    assert POLICIES[1]["Statement"][0]["Resource"] == f"{bucket}/*"


def test_the_same_pythons_everywhere() -> None:
    classified = re.findall(r"Programming Language :: Python :: (3\.\d+)", PYPROJECT)
    assert tuple(classified) == SUPPORTED
    assert f'requires-python = ">={SUPPORTED[0]}"' in PYPROJECT
    for text in (README, DOCS):
        assert f"CPython {SUPPORTED[0]} to {SUPPORTED[-1]}" in text
