"""The bill of materials (CycloneDX 1.6, JSON): what is in the artifacts, and whence.

The same build gives the same bytes: there is no time in it, and the serial number is made of the
content.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tools.licences import Package

Json = dict[str, Any]

# For serial numbers; a value of its own, so that nobody else derives the same ones.
NAMESPACE = uuid.UUID("5a2f6c0e-8b1d-4f0a-9f5c-6c1f0d9b7a43")
# How the lock calls what is built.
PROJECT = "dockermgr"
# Upstream links AWS's C libraries into it, and does not list them.
OPAQUE = "awscrt"


def sbom(
    name: str, author: str, version: str, artifacts: Iterable[Path], packages: Iterable[Package]
) -> bytes:
    """The document, for the artifacts of both architectures.

    Their packages are the same ones; only the wheels differ. A `version` that is known only when
    the GDK publishes, NEXT_PATCH, is left out.
    """
    found = list(packages)
    known = {} if version == "NEXT_PATCH" else {"version": version}
    component = {
        "type": "application",
        "bom-ref": name,
        "name": name,
        **known,
        "publisher": author,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "components": [file(path) for path in artifacts],
    }
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": component},
        "components": [described(package) for package in found],
        "dependencies": graph(name, found),
        "compositions": [
            {
                "aggregate": "incomplete",
                "assemblies": [purl(package) for package in found if package.name == OPAQUE],
            }
        ],
    }
    serial = uuid.uuid5(NAMESPACE, json.dumps(document, sort_keys=True))
    return json.dumps({**document, "serialNumber": f"urn:uuid:{serial}"}, indent=2).encode() + b"\n"


def file(path: Path) -> Json:
    """A file with its digest."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {"type": "file", "bom-ref": path.name, "name": path.name, "hashes": hashes}


def purl(package: Package) -> str:
    """Its package URL; names in a lock are normal ones already, versions need no escapes."""
    return f"pkg:pypi/{package.name}@{package.version}"


def described(package: Package) -> Json:
    """A dependency, with the wheels that were taken of it."""
    # Whoever reads one knows identifiers better than expressions.
    single = re.fullmatch(r"[^ ()]+", package.licence)
    licence = {"license": {"id": package.licence}} if single else {"expression": package.licence}
    return {
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
        "licenses": [licence],
        "components": [file(wheel) for wheel in package.wheels],
    }


def graph(name: str, packages: Iterable[Package]) -> list[Json]:
    """Who needs whom, by the lock's words."""
    found = list(packages)
    needed: dict[str, list[str]] = {name: [], **{purl(package): [] for package in found}}
    references = {PROJECT: name, **{package.name: purl(package) for package in found}}
    for package in found:
        for other in package.required_by:
            if other in references:  # not those of which nothing is in the artifacts
                needed[references[other]].append(purl(package))
    return [{"ref": ref, "dependsOn": others} for ref, others in needed.items()]
