"""The rules a recipe must keep to work on both nuclei, and the promises of ours."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import dockermgr
from dockermgr.config import Config, parse_config
from tools.build import MACHINES, ROOT, code_version, filled, identity

NAME, AUTHOR, VERSION = identity(ROOT)
SOURCE = (ROOT / "recipe.yaml").read_text(encoding="utf-8")
TEXT = filled(SOURCE, NAME, AUTHOR, VERSION)
RECIPE: dict[str, Any] = yaml.safe_load(TEXT)
DEFAULTS: dict[str, Any] = RECIPE["ComponentConfiguration"]["DefaultConfiguration"]
MANIFESTS: list[dict[str, Any]] = RECIPE["Manifests"]
# Known to both; nucleus lite takes every `{` for the start of one and fails on any other.
VARIABLES = {"{artifacts:path}", "{work:path}"}


def test_names_version_and_author_come_from_the_gdk_configuration() -> None:
    raw = yaml.safe_load(SOURCE)
    assert raw["ComponentName"] == "{COMPONENT_NAME}"
    assert raw["ComponentVersion"] == "{COMPONENT_VERSION}"
    assert raw["ComponentPublisher"] == "{COMPONENT_AUTHOR}"
    assert (RECIPE["ComponentName"], RECIPE["ComponentVersion"]) == (NAME, VERSION)
    assert RECIPE["ComponentPublisher"] == AUTHOR == "dockermgr contributors"
    assert NAME == "io.dockermgr.DockerApplicationManager"
    assert NAME not in SOURCE


def test_one_version_everywhere() -> None:
    assert VERSION == dockermgr.__version__ == code_version(ROOT)


def test_gdk_configuration() -> None:
    config = json.loads((ROOT / "gdk-config.json").read_text(encoding="utf-8"))
    (component,) = config["component"].values()
    assert component["build"] == {
        "build_system": "custom",
        "custom_build_command": ["make", "build"],  # a list: the GDK runs it without a shell
    }
    assert component["publish"].keys() == {"bucket", "region"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", config["gdk_version"])


def test_what_greengrass_demands() -> None:
    assert RECIPE["RecipeFormatVersion"] == "2020-01-25"
    assert RECIPE["ComponentType"] == "aws.greengrass.generic"
    assert re.fullmatch(r"[a-zA-Z0-9-_.]{1,128}", RECIPE["ComponentName"])
    assert len(TEXT.encode()) < 16_000
    assert "{COMPONENT" not in TEXT


def test_dependencies_can_be_resolved_by_local_deployments() -> None:
    assert RECIPE["ComponentDependencies"] == {
        "aws.greengrass.TokenExchangeService": {
            "VersionRequirement": ">=2.0.0 <3.0.0",  # `~` and `^` never match on lite
            "DependencyType": "SOFT",  # a restart of it must not restart every application
        }
    }


def test_a_manifest_for_each_machine() -> None:
    platforms = [manifest["Platform"] for manifest in MANIFESTS]
    # Lite reads a manifest only if `runtime` says so, and calls 64-bit ARM by the kernel's name.
    assert platforms == [
        {"os": "linux", "architecture": label, "runtime": "*"} for label in MACHINES.values()
    ]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: str(manifest["Name"]))
def test_manifest(manifest: dict[str, Any]) -> None:
    file = f"dockermgr-linux-{manifest['Platform']['architecture']}.pyz"
    (artifact,) = manifest["Artifacts"]
    assert artifact == {
        "Uri": f"s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/{file}",
        "Unarchive": "NONE",
        "Permission": {"Read": "ALL", "Execute": "ALL"},
    }
    # Lite runs neither `shutdown` nor `recover`, and there is nothing to install.
    assert manifest["Lifecycle"].keys() == {"startup"}
    startup = manifest["Lifecycle"]["startup"]
    assert startup.keys() == {"Timeout", "Script"}
    assert type(startup["Timeout"]) is int
    assert startup["Timeout"] > DEFAULTS["startup"]["waitSeconds"]
    assert startup["Script"].startswith("exec ")  # SIGTERM must reach Python, not a shell
    assert "\n" not in startup["Script"]
    assert set(re.findall(r"\{.*?\}", startup["Script"])) == VARIABLES
    assert not re.search(r"[{}]", re.sub(r"\{.*?\}", "", startup["Script"]))
    assert f"{{artifacts:path}}/{file}" in startup["Script"]


@pytest.mark.parametrize("slash", ["", "/"], ids=["java", "lite"])
def test_script_as_the_shell_sees_it(tmp_path: Path, slash: str) -> None:
    """The nuclei put paths in as they are, lite with a slash at the end."""
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\necho "$DOCKERMGR_HOME"\nfor a in "$@"; do echo "$a"; done\n')
    python.chmod(0o755)
    script: str = MANIFESTS[0]["Lifecycle"]["startup"]["Script"]
    script = script.replace("{artifacts:path}", f"/a b/artifacts{slash}")
    script = script.replace("{work:path}", f"/a b/work{slash}")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run(
        ["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    home, *arguments = result.stdout.splitlines()
    assert os.path.normpath(home) == "/a b/work"
    assert arguments[:-2] == ["-I", "-S", "-u"]
    assert os.path.normpath(arguments[-2]) == "/a b/artifacts/dockermgr-linux-amd64.pyz"
    assert arguments[-1] == "serve"


def test_defaults_are_those_of_the_contract() -> None:
    defaults = {key: value for key, value in DEFAULTS.items() if key != "accessControl"}
    assert defaults == {
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


def test_defaults_are_those_of_the_code() -> None:
    assert parse_config(DEFAULTS) == (Config(), ())


def test_access_is_no_wider_than_needed() -> None:
    (service,) = DEFAULTS["accessControl"].items()
    assert service[0] == "aws.greengrass.ipc.pubsub"
    granted = {}
    for policy, rule in service[1].items():
        assert policy.startswith(f"{NAME}:")  # must be unique on the device
        assert rule.keys() == {"policyDescription", "operations", "resources"}
        (operation,) = rule["operations"]
        granted[operation] = rule["resources"]
    assert granted == {
        "aws.greengrass#PublishToTopic": ["dockermgr/status", "dockermgr/status/image"],
        "aws.greengrass#SubscribeToTopic": ["dockermgr/requests/status"],
    }
    assert DEFAULTS["status"]["topic"] in granted["aws.greengrass#PublishToTopic"]


def test_next_patch_is_left_to_the_gdk(tmp_path: Path) -> None:
    """The GDK looks for the artifacts under that very name and puts the number in to publish."""
    config = json.loads((ROOT / "gdk-config.json").read_text(encoding="utf-8"))
    config["component"][NAME]["version"] = "NEXT_PATCH"
    (tmp_path / "gdk-config.json").write_text(json.dumps(config))
    assert identity(tmp_path) == (NAME, AUTHOR, "NEXT_PATCH")
    assert 'ComponentVersion: "NEXT_PATCH"' in filled(SOURCE, *identity(tmp_path))
