"""What the GDK does to publish, done to the built folder against moto: see docs/publishing.md."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.sandbox.aws import ACCOUNT, Aws
from tests.sandbox.device import Device
from tools.build import MACHINES, ROOT

OUT = ROOT / "greengrass-build"
PLACES = "s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/"


def publish(aws: Aws) -> dict[str, Any]:
    """Uploads all that lies in the component's folder; returns the recipe as AWS would get it."""
    config = json.loads((ROOT / "gdk-config.json").read_text(encoding="utf-8"))
    ((name, component),) = config["component"].items()
    account = aws.client("sts").get_caller_identity()["Account"]
    bucket = "-".join([*component["publish"].values(), account])
    s3 = aws.client("s3", component["publish"]["region"])
    s3.create_bucket(Bucket=bucket)
    folder = OUT / "artifacts" / name / component["version"]
    for path in folder.iterdir():
        s3.upload_file(str(path), bucket, f"{name}/{component['version']}/{path.name}")
    text = (OUT / "recipes/recipe.yaml").read_text(encoding="utf-8")
    recipe = yaml.safe_load(text.replace(PLACES, f"s3://{bucket}/{name}/{component['version']}/"))
    assert isinstance(recipe, dict)
    return recipe


def test_a_device_gets_by_the_recipe_what_was_built(
    artifacts: dict[str, Path], fresh_device: Device, tmp_path: Path
) -> None:
    recipe = publish(fresh_device.aws)
    s3 = fresh_device.aws.client("s3")
    place = artifacts["amd64"].parent
    bill = json.loads((place / "dockermgr.cdx.json").read_bytes())
    sums = {
        part["name"]: part["hashes"][0]["content"]
        for part in bill["metadata"]["component"]["components"]
    }
    for manifest in recipe["Manifests"]:
        (artifact,) = manifest["Artifacts"]
        bucket, _, key = artifact["Uri"].removeprefix("s3://").partition("/")
        assert bucket == f"greengrass-component-artifacts-us-east-1-{ACCOUNT}"
        path = tmp_path / Path(key).name
        s3.download_file(bucket, key, str(path))
        content = path.read_bytes()
        assert content == artifacts[manifest["Platform"]["architecture"]].read_bytes()
        assert hashlib.sha256(content).hexdigest() == sums[path.name]

    for file in ("dockermgr.cdx.json", "THIRD_PARTY_LICENSES.txt"):
        beside = f"{key.rpartition('/')[0]}/{file}"
        found = s3.get_object(Bucket=bucket, Key=beside)["Body"].read()
        assert found == (place / file).read_bytes()
        assert file not in yaml.safe_dump(recipe)

    here = tmp_path / f"dockermgr-linux-{MACHINES[os.uname().machine]}.pyz"
    done = subprocess.run(
        [sys.executable, "-I", "-S", here, "parse", "docker:nginx:1"],
        env={"PATH": "/usr/bin:/bin", "DOCKERMGR_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_recipe_that_is_sent_is_small_enough(artifacts: dict[str, Path]) -> None:
    text = (OUT / "recipes/recipe.yaml").read_text(encoding="utf-8")
    longest = text.replace("BUCKET_NAME", "b" * 63).replace("COMPONENT_NAME", "n" * 128)
    assert len(longest.encode()) < 16_000
