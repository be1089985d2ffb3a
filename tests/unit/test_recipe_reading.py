"""What recipes say: which manifest fits, which images they name, which scripts they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockermgr.config import ImageSpec
from dockermgr.nodes import Node, ReadError
from dockermgr.policy import PullPolicy
from dockermgr.recipe import fits, images, labels_of, labels_of_machine, read_recipe, steps
from dockermgr.recipe_file import images_of, text_of

HEAD = "RecipeFormatVersion: '2020-01-25'\n"
AMD64 = labels_of("linux/amd64")


def recipe(text: str) -> Node:
    return read_recipe(HEAD + text, "recipe.yaml")


def manifest(platform: str) -> Node:
    return recipe(f"Platform: {platform}")


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("null", True),
        ("{}", True),
        ("{os: linux}", True),
        ("{os: all}", True),
        ("{os: any}", True),
        ('{os: "*", architecture: "*"}', True),
        ("{os: //}", True),
        ("{os: linux, architecture: amd64, runtime: aws_nucleus_lite}", True),
        ("{os: /darwin|linux/}", True),
        ("{os: [darwin, linux]}", True),
        ("{os: [darwin, /win.*/]}", False),
        ("{os: windows}", False),
        ("{os: Linux}", False),
        ("{architecture: aarch64}", False),
        ("{architecture: /amd/}", False),
        ("{architecture: /(/}", False),
        ("{architecture.detail: armv7l}", False),
        ("{gpu: nvidia}", False),
    ],
)
def test_manifests_fit_as_the_nucleus_has_it(platform: str, expected: bool) -> None:
    assert fits(manifest(platform), AMD64) is expected


@pytest.mark.parametrize(
    ("machine", "labels"),
    [
        ("x86_64", {"os": "linux", "architecture": "amd64"}),
        ("aarch64", {"os": "linux", "architecture": "aarch64"}),
        ("i686", {"os": "linux", "architecture": "x86"}),
        ("armv7l", {"os": "linux", "architecture": "arm", "architecture.detail": ""}),
        ("riscv64", {"os": "linux", "architecture": "riscv64"}),
    ],
)
def test_a_machine_has_greengrasss_names(machine: str, labels: dict[str, str]) -> None:
    found = labels_of_machine(machine)
    assert found.keys() == labels.keys()
    assert found["architecture"] == labels["architecture"]


def test_the_first_manifest_that_fits_counts() -> None:
    text = """
ComponentConfiguration:
  DefaultConfiguration:
    dockerImages:
    - docker:c:1
    - {uri: "docker:d:1", pullPolicy: never, platform: linux/arm64, required: "false"}
    - docker:b:1
Manifests:
- Platform: {os: windows}
  Artifacts: [{Uri: docker:w:1}]
- Platform: {os: linux, architecture: aarch64}
  Artifacts: [{Uri: docker:arm:1}]
- Platform: {os: linux}
  Artifacts: [{URI: " docker:b:1"}, {Uri: s3://bucket/key}, {Uri: "DOCKER:a:1"}]
- Artifacts: [{Uri: docker:other:1}]
"""
    configured = (
        ImageSpec("docker:c:1"),
        ImageSpec("docker:d:1", PullPolicy.NEVER, "linux/arm64", required=False),
    )
    assert images(recipe(text), AMD64) == (
        ImageSpec("docker:b:1"),
        ImageSpec("DOCKER:a:1"),
        *configured,
    )
    assert images(recipe(text), labels_of("linux/arm64/v8"))[0] == ImageSpec("docker:arm:1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Manifests: [{Platform: {os: windows}}]", "no manifest is for linux/amd64"),
        ("Manifests: []", "no manifest is for linux/amd64"),
        ("Manifests: [{Artifacts: [{Uri: s3://a/b}]}]", "it names no image: there is no docker:"),
        (
            "ComponentConfiguration: {DefaultConfiguration: {dockerImages: [a, {url: b}]}}\nManifests: [{}]",
            r"line 2, column 67: dockerImages\[1\].uri: is missing",
        ),
    ],
)
def test_a_recipe_without_images_says_so(text: str, says: str) -> None:
    with pytest.raises(ReadError, match=says):
        images(recipe(text), AMD64)


@pytest.mark.parametrize("text", ["a: b", "- RecipeFormatVersion", "RecipeFormatVersion"])
def test_what_is_no_recipe(text: str) -> None:
    with pytest.raises(ReadError, match="this is no Greengrass recipe"):
        read_recipe(text, "recipe.yaml")


LIFECYCLES = {
    "Manifests: [{Lifecycle: {run: a, install: {Script: b}, Setenv: {X: y}}}]": [
        *(("run", "a", ()), ("install", "b", ()))
    ],
    "Manifests: [{}]\nLifecycle: {Run: a}": [("run", "a", ())],
    "Manifests: [{Lifecycle: {}}]\nLifecycle: {run: a}": [("run", "a", ())],
    "Manifests: [{}]\nLifecycle: {linux: {run: a}, all: {run: {Script: b}}}": [
        *(("run", "a", ("linux",)), ("run", "b", ("all",)))
    ],
    "Manifests: [{}]\nLifecycle: {run: {linux: a, windows: {Script: b}}}": [
        *(("run", "a", ("linux",)), ("run", "b", ("windows",)))
    ],
    "Manifests: [{}]\nLifecycle: {run: {Script: {linux: a, all: b}}}": [
        *(("run", "a", ("linux",)), ("run", "b", ("all",)))
    ],
    "Manifests: [{}]\nLifecycle: [all: {run: a}]": [("run", "a", ("all",))],
    "Manifests: [{Lifecycle: {run: {Timeout: 5}}}]": [("run", None, ())],
}


@pytest.mark.parametrize("text", LIFECYCLES)
def test_scripts_are_found_in_every_form_of_a_lifecycle(text: str) -> None:
    found = [
        (step.name, step.script.text if step.script else None, step.selectors)
        for step in steps(recipe(text))
    ]
    assert found == LIFECYCLES[text]
    assert all(len(step.manifests) == 1 for step in steps(recipe(text)))


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    text = f"{HEAD}Manifests:\n- Platform: {{architecture: aarch64}}\n  Artifacts: [{{Uri: docker:a}}]\n"
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert images_of(str(file), "arm64") == (ImageSpec("docker:a"),)
    with pytest.raises(ValueError, match="is no platform"):
        images_of(str(file), "a/b/c/d")
    file.write_bytes("é: a\nü\xff: b".encode("latin-1"))
    with pytest.raises(ReadError, match="line 1, column 1: no UTF-8"):
        text_of(str(file))
    file.write_bytes("a: b\né: ".encode() + b"\xff")
    with pytest.raises(ReadError, match="line 2, column 4: no UTF-8"):
        text_of(str(file))
    with pytest.raises(ReadError, match=r"^No such file or directory"):
        text_of(str(tmp_path / "other.yaml"))
    with pytest.raises(ReadError, match=r"^Is a directory"):
        text_of(str(tmp_path))
