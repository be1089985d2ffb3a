"""`dockermgr pull --recipe` on a device: what a recipe names for it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.harness import Harness
from tests.sandbox.device import ECR_HOST
from tests.sandbox.images import Platform, push_image, push_multi_platform

pytestmark = pytest.mark.timeout(120)

RECIPE = f"""
RecipeFormatVersion: "2020-01-25"
ComponentName: com.example.App
ComponentVersion: "1.0.0"
ComponentConfiguration:
  DefaultConfiguration:
    dockerImages:
      - uri: docker:listed:1.0
        pullPolicy: IfNotPresent
Manifests:
  - Platform: {{os: windows}}
    Artifacts: [{{Uri: "docker:other:1.0"}}]
  - Platform: {{os: /linux|darwin/, architecture: OURS}}
    Artifacts:
      - Uri: s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/app.zip
      - URI: docker:{ECR_HOST}/app/one:1
  - Platform: {{os: linux}}
    Artifacts: [{{Uri: "docker:multi:1"}}]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The recipe above, for this machine."""
    ours = {"amd64": "amd64", "arm64": "aarch64"}[Platform().architecture]
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.replace("OURS", ours))
    return file


def test_the_images_of_the_manifest_that_fits_and_those_of_the_command(
    harness: Harness, recipe: Path
) -> None:
    push_image(harness.device.ecr, "app/one", "1")
    for name in ("listed", "more", "other"):
        push_image(harness.device.public, f"library/{name}", "1.0")

    done = harness.run("pull", "--recipe", str(recipe), "docker:more:1.0")

    assert done.code == 0, done.err
    assert harness.device.engine.tags() == {f"{ECR_HOST}/app/one:1", "listed:1.0", "more:1.0"}


def test_for_another_platform_its_manifest_and_its_images(harness: Harness, recipe: Path) -> None:
    other = {"amd64": "arm64", "arm64": "amd64"}[Platform().architecture]
    for name, tag in (("multi", "1"), ("listed", "1.0")):
        platforms = [Platform("amd64"), Platform("arm64", variant="v8")]
        push_multi_platform(harness.device.public, f"library/{name}", tag, platforms=platforms)

    done = harness.run("pull", "--platform", f"linux/{other}", "--recipe", str(recipe))

    assert done.code == 0, done.err
    assert harness.device.engine.tags() == {"multi:1", "listed:1.0"}
    with harness.device.engine.client() as client:
        for tag in ("multi:1", "listed:1.0"):
            assert client.images.get(tag).attrs["Architecture"] == other


def test_a_recipe_without_images_is_told_before_anything_is_pulled(
    harness: Harness, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("RecipeFormatVersion: '2020-01-25'\nManifests: [{}]\n")
    push_image(harness.device.public, "library/more", "1.0")

    done = harness.run("pull", "--recipe", str(recipe), "docker:more:1.0")

    assert done.code == 2
    assert f"{recipe}: it names no image: there is no docker: artifact" in done.err
    assert not harness.device.public.requests()
