"""The command line as far as it is read; what the commands do is tested on a device."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockermgr import __version__
from dockermgr.caller import calling_component
from dockermgr.cli import COMMANDS, main
from dockermgr.commands import pull
from dockermgr.policy import PullPolicy


def pull_arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    pull.add_arguments(parser)
    return parser.parse_args(words)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"dockermgr {__version__}"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"dockermgr {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["--fly"],
        ["parse"],
        ["pull"],
        ["pull", "--fly", "docker:a"],
        ["pull", "--policy", "Often", "docker:a"],
        ["pull", "--timeout", "-1", "docker:a"],
        ["pull", "--timeout", "soon", "docker:a"],
        ["pull", "--timeout", "nan", "docker:a"],
        ["pull", "--timeout", "inf", "docker:a"],
        ["lint"],
        ["lint", "--ignore", "no-such-rule", "recipe.yaml"],
        ["lint", "--account", "1234", "recipe.yaml"],
        ["lint", "--region", "us-east1", "recipe.yaml"],
        ["lint", "--nucleus", "both-of-them", "recipe.yaml"],
        ["lint", "--format", "xml", "recipe.yaml"],
        ["serve", "more"],
    ],
)
def test_wrong_usage_is_two(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "usage: dockermgr" in capsys.readouterr().err


def test_wrong_usage_of_run_is_not_a_code_of_the_containers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "--rm", "docker:nginx:1.27"]) == 125
    said = capsys.readouterr().err
    assert "usage: dockermgr run [--pass FEATURES]" in said
    assert "unrecognized arguments: --rm" in said


@pytest.mark.parametrize(
    ("words", "loaded", "not_loaded"),
    [
        (
            ["parse", "docker:a"],
            "dockermgr.commands.parse",
            {"dockermgr.commands.pull", "dockermgr.commands.serve", "logging", "yaml", "difflib"},
        ),
        (
            ["run", "--help"],
            "dockermgr.commands.run",
            {"dockermgr.commands.pull", "dockermgr.recipe", "dockermgr.lint", "yaml"},
        ),
        (
            ["pull", "--help"],
            "dockermgr.commands.pull",
            {"dockermgr.recipe", "dockermgr.lint", "yaml"},
        ),
        (["lint", "--help"], "dockermgr.commands.lint", {"docker", "boto3", "awsiot", "requests"}),
    ],
)
def test_only_the_command_that_is_run_is_loaded(
    words: list[str], loaded: str, not_loaded: set[str]
) -> None:
    code = f"import sys; from dockermgr.cli import main; main({words}); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(done.stdout.splitlines()[-1].split())
    assert loaded in modules
    assert not modules & not_loaded


def test_parse_prints_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parse", "docker:a:1", "docker:b:1"]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["repository"] for line in captured.out.splitlines()] == [
        "library/a",
        "library/b",
    ]
    assert captured.err == ""


def test_parse_goes_on_after_an_invalid_uri(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parse", "Docker", "docker:b:1"]) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert captured.err.startswith("dockermgr: invalid image URI")

    assert main(["parse", "--json", "Docker", "docker:b:1"]) == 2
    wrong, right = map(json.loads, capsys.readouterr().out.splitlines())
    assert set(wrong) == {"uri", "error"}
    assert right["uri"] == "docker:b:1"


def test_serve_outside_greengrass_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SVCUID", "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"):
        monkeypatch.delenv(name, raising=False)
    # In a process of its own: the command sets up logging for the whole of one.
    done = subprocess.run(
        [sys.executable, "-m", "dockermgr", "serve"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "is started by the Greengrass nucleus" in done.stderr


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("always", PullPolicy.ALWAYS),
        ("IFNOTPRESENT", PullPolicy.IF_NOT_PRESENT),
        ("Never", PullPolicy.NEVER),
    ],
)
def test_policies_are_read_in_any_case(text: str, policy: PullPolicy) -> None:
    assert pull_arguments("--policy", text, "docker:a").policy is policy


def test_pulls_defaults() -> None:
    arguments = pull_arguments("docker:a", "docker:b")
    assert arguments.uris == ["docker:a", "docker:b"]
    assert (arguments.policy, arguments.platform, arguments.timeout) == (None, None, 0)
    assert arguments.json is False


def test_pull_of_a_recipe_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("RecipeFormatVersion: '2020-01-25'\nManifests: [{}\n")
    assert main(["pull", "--recipe", str(recipe), "docker:a:1"]) == 2
    said = capsys.readouterr().err
    assert f"{recipe}: line 3, column 1: no YAML: expected ',' or ']'" in said


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("1.5", 1.5), ("3600", 3600)])
def test_a_timeout_is_in_seconds(text: str, seconds: float) -> None:
    assert pull_arguments("--timeout", text, "docker:a").timeout == seconds


@pytest.mark.parametrize(
    ("inside", "folder", "component"),
    [(True, "com.example.App", "com.example.App"), (False, "com.example.App", "")],
)
def test_thecalling_component_is_known_by_its_work_folder(
    inside: bool,
    folder: str,
    component: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = tmp_path_factory.mktemp("work") / folder
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("SVCUID", raising=False)
    if inside:
        monkeypatch.setenv("SVCUID", "any")
    assert calling_component() == component


def test_an_interrupt_is_the_shells_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(uri: str) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("dockermgr.commands.parse.describe_uri", interrupt)
    assert main(["parse", "docker:a"]) == 130
