"""Asks for manifests as the tests want it, of registries that say what a test tells them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from dockermgr.cancellation import Cancellation
from dockermgr.credentials import Credential
from dockermgr.manifest import Manifest, fetch_manifest
from dockermgr.reference import parse_reference
from dockermgr.registry import classify
from tests.integration.scripted_server import Script, ScriptedServer
from tests.sandbox import box
from tests.sandbox.device import ECR_HOST, Device

REGISTRY_ADDRESS, TOKEN_ADDRESS = f"{box.NETWORK}.201", f"{box.NETWORK}.202"
SCRIPTED_HOST = "scripted.example.com"
OCI = "application/vnd.oci.image.manifest.v1+json"
OCI_LIST = "application/vnd.oci.image.index.v1+json"
BODY = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": {"size": 1, "digest": "sha256:" + "c" * 64},
        "layers": [{"size": 5, "digest": "sha256:" + "1" * 64}],
    }
).encode()


def fetch(
    image: str,
    credential: Credential | None = None,
    platform: str = "linux/amd64",
    timeout_seconds: float = 20,
    cancellation: Cancellation | None = None,
) -> Manifest:
    reference = parse_reference(image)
    return fetch_manifest(
        reference,
        classify(reference.registry),
        credential,
        platform,
        timeout_seconds=timeout_seconds,
        cancellation=cancellation,
    )


@contextlib.contextmanager
def scripted(
    device: Device, script: Script, host: str = SCRIPTED_HOST, address: str = REGISTRY_ADDRESS
) -> Iterator[ScriptedServer]:
    certificate = device.authority.issue([host], [address])
    device.dns.names[host] = address
    with ScriptedServer(script).running(address, 443, certificate) as server:
        yield server
    if host != ECR_HOST:  # the device's `reset` brings that one back
        del device.dns.names[host]


def sizes(manifest: Manifest) -> tuple[int, ...]:
    return tuple(layer.size_bytes for layer in manifest.layers)
