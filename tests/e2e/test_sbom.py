"""The bill of materials and the licences beside the artifacts say what is in them."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
from email.parser import Parser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import get_spdx_licensing
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.build import ROOT, identity
from tools.licences import LicenceError, licence_of
from tools.sbom import sbom
from tools.wheels import read_lock

NAME, AUTHOR, VERSION = identity(ROOT)


@pytest.fixture(scope="module")
def folder(artifacts: dict[str, Path]) -> Path:
    return artifacts["amd64"].parent


@pytest.fixture(scope="module")
def bill(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "dockermgr.cdx.json").read_bytes())
    return read


@pytest.fixture(scope="module")
def library(artifacts: dict[str, Path]) -> dict[str, bytes]:
    """What every device unpacks."""
    with zipfile.ZipFile(artifacts["amd64"]) as archive:
        content = BytesIO(archive.read("lib.tar"))
    with tarfile.open(fileobj=content) as tar:
        files = ((member.name, tar.extractfile(member)) for member in tar)
        return {name: file.read() for name, file in files if file}


@pytest.fixture(scope="module")
def metadata(library: dict[str, bytes]) -> dict[str, Any]:
    """The metadata of each distribution in the artifacts, by its normal name."""
    found = (
        Parser().parsestr(content.decode())
        for name, content in library.items()
        if name.endswith(".dist-info/METADATA")
    )
    return {canonicalize_name(said["Name"]): said for said in found}


def test_it_is_cyclonedx(folder: Path, bill: dict[str, Any]) -> None:
    text = (folder / "dockermgr.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    read = Bom.from_json(bill)  # type: ignore[attr-defined]  # made by a decorator
    assert read.validate()  # each reference has its component
    assert "timestamp" not in bill["metadata"]


def test_it_is_of_these_artifacts(artifacts: dict[str, Path], bill: dict[str, Any]) -> None:
    component = bill["metadata"]["component"]
    assert (component["name"], component["version"]) == (NAME, VERSION)
    assert component["publisher"] == AUTHOR
    sums = {part["name"]: part["hashes"][0]["content"] for part in component["components"]}
    assert sums == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in artifacts.values()
    }


def test_it_lists_what_is_in_them(bill: dict[str, Any], metadata: dict[str, Any]) -> None:
    listed = {(part["name"], part["version"]) for part in bill["components"]}
    assert listed == {(name, said["Version"]) for name, said in metadata.items()}
    for part in bill["components"]:
        assert part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}"


def test_its_wheels_are_pinned(bill: dict[str, Any]) -> None:
    pins = {pin.name: pin for pin in read_lock(ROOT / "requirements/runtime.lock")}
    machines = set()
    for part in bill["components"]:
        for wheel in part["components"]:
            assert wheel["hashes"][0]["content"] in pins[part["name"]].sha256
            machines.add((part["name"], wheel["name"].rpartition("_")[2]))
    assert {machine for name, machine in machines if name == "awscrt"} == {
        "aarch64.whl",
        "64.whl",  # x86_64
    }


def test_who_needs_whom(bill: dict[str, Any], metadata: dict[str, Any]) -> None:
    """The lock's words, against those of the wheels themselves."""
    names = {part["bom-ref"]: part["name"] for part in bill["components"]}
    graph = {
        names.get(node["ref"], node["ref"]): {names[ref] for ref in node["dependsOn"]}
        for node in bill["dependencies"]
    }
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    direct = json.loads(
        "[" + project.split("dependencies = [")[1].split("]")[0].rstrip(" ,\n") + "]"
    )
    said = {name: found.get_all("Requires-Dist") or [] for name, found in metadata.items()}
    for name, wanted in {NAME: direct, **said}.items():
        needed = {
            canonicalize_name(requirement.name)
            for requirement in map(Requirement, wanted)
            if not requirement.marker or requirement.marker.evaluate({"extra": ""})
        }
        assert graph[name] - {"backports-zstd"} == needed & metadata.keys() - {"backports-zstd"}
    assert "backports-zstd" in graph[NAME]  # below Python 3.14, whichever runs this


def test_the_licences_are_those_that_spdx_knows(bill: dict[str, Any]) -> None:
    for part in bill["components"]:
        (licence,) = part["licenses"]
        text = licence["expression"] if "expression" in licence else licence["license"]["id"]
        assert not get_spdx_licensing().validate(text).errors, part["name"]


def test_the_text_has_every_licence(
    folder: Path, bill: dict[str, Any], library: dict[str, bytes]
) -> None:
    text = (folder / "THIRD_PARTY_LICENSES.txt").read_text(encoding="utf-8")
    for part in bill["components"]:
        assert f"\n{part['name']} {part['version']}\n" in text
    words = ("LICENSE", "LICENCE", "NOTICE", "COPYING")
    licences = [
        content.decode().strip()
        for name, content in library.items()
        if ".dist-info/" in name and any(word in name.upper() for word in words)
    ]
    assert len(licences) >= len(bill["components"]) - 1
    assert all(licence in text for licence in licences)
    own = library["dockermgr/LICENSE"]
    assert own == (ROOT / "LICENSE").read_bytes()
    # Of the one wheel without any; its licence is this one's.
    assert own.decode().strip() in text.split("\nawsiotsdk ")[1].split("\n" + "=" * 80)[0]


def test_a_licence_that_nobody_looked_at_stops_the_build() -> None:
    unknown = Parser().parsestr("Name: new\nLicense: see the web page\n")
    with pytest.raises(LicenceError, match="new has the licence 'see the web page'"):
        licence_of("new", unknown)


def test_the_serial_number_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "dockermgr.pyz"

    def serial(content: str) -> str:
        path.write_text(content)
        return str(json.loads(sbom(NAME, AUTHOR, VERSION, [path], []))["serialNumber"])

    assert serial("one") == serial("one") != serial("another")
