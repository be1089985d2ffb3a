"""Registries that misbehave, ways through proxies, and whom TLS trusts."""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import time
import traceback
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dockermgr.cancellation import Cancellation
from dockermgr.credentials import Credential
from dockermgr.manifest import ManifestUnavailable, fetch_manifest
from dockermgr.reference import parse_reference
from dockermgr.registry import classify
from dockermgr.registry_transport import trust
from tests.integration.manifests import (
    BODY,
    OCI_LIST,
    REGISTRY_ADDRESS,
    SCRIPTED_HOST,
    fetch,
    scripted,
    sizes,
)
from tests.integration.scripted_server import (
    Asked,
    RawServer,
    Reply,
    ScriptedServer,
    connect_proxy,
)
from tests.sandbox.certificates import CertificateAuthority
from tests.sandbox.device import Device
from tests.sandbox.images import push_image
from tests.sandbox.processes import wait_until

CREDENTIAL = Credential("robot", "robot-password")


@pytest.fixture
def trusted(fresh_device: Device, monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device whose authority this process trusts, as others trust the public ones."""
    monkeypatch.setenv("SSL_CERT_FILE", str(fresh_device.authority.bundle))
    return fresh_device


# --- strange servers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, BODY),
        Reply(200, BODY, {"Transfer-Encoding": "chunked"}),
        Reply(200, BODY, {"Connection": "close"}),
    ],
    ids=["whole", "chunked", "closing"],
)
def test_a_list_and_its_image_arrive_in_any_form(trusted: Device, reply: Reply) -> None:
    digest = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    platform = {"os": "linux", "architecture": "amd64"}
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_LIST,
            "manifests": [{"digest": digest, "platform": platform}],
        }
    ).encode()

    def registry(asked: Asked) -> Reply:
        return Reply(200, BODY if digest in asked.path else index, reply.headers)

    with scripted(trusted, registry) as server:
        assert sizes(fetch(f"{SCRIPTED_HOST}/app:1")) == (5,)

    kept = "Connection" not in reply.headers
    assert [each.connection for each in server.asked] == ([1, 1] if kept else [1, 2])


@pytest.mark.parametrize(
    "reply",
    [
        Reply(204), Reply(429), Reply(503), Reply(401), Reply(401, b"", {"WWW-Authenticate": "Odd x=y"}),
        Reply(200, b"<html>"), Reply(200, b" " * (4 * 1024 * 1024 + 1)),
        Reply(200, BODY, {"Content-Length": "999999999"}), Reply(200, BODY, {"Content-Length": "x"}),
    ],
)  # fmt: skip
def test_a_strange_answer_is_unavailable(trusted: Device, reply: Reply) -> None:
    with scripted(trusted, lambda _: reply), pytest.raises(ManifestUnavailable):
        fetch(f"{SCRIPTED_HOST}/app:1", timeout_seconds=1)


def test_another_manifest_than_that_of_the_digest_is_unavailable(trusted: Device) -> None:
    with (
        scripted(trusted, lambda _: Reply(200, BODY)),
        pytest.raises(ManifestUnavailable, match="does not have the digest"),
    ):
        fetch(f"{SCRIPTED_HOST}/app@sha256:{'0' * 64}")


def _dripping(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        client.sendall(b"x")
        time.sleep(0.01)


def _silent(client: socket.socket) -> None:
    while client.recv(65536):
        pass


@pytest.mark.parametrize("talk", [_silent, _dripping])
def test_a_server_without_an_end_is_given_up_in_time(
    trusted: Device, talk: Callable[[socket.socket], None]
) -> None:
    # On loopback it is tried without TLS as well: there a drip is a drip of an answer.
    with (
        RawServer(talk).running("127.0.0.1") as port,
        pytest.raises(ManifestUnavailable, match=r"no answer within 0\.5 s"),
    ):
        fetch(f"127.0.0.1:{port}/app:1", timeout_seconds=0.5)


def test_a_request_to_stop_ends_it(trusted: Device) -> None:
    cancellation = Cancellation()

    def talk(client: socket.socket) -> None:
        client.recv(1)
        cancellation.cancel()
        _silent(client)

    with (
        RawServer(talk).running(REGISTRY_ADDRESS, 5000) as port,
        pytest.raises(ManifestUnavailable),
    ):
        fetch(f"{REGISTRY_ADDRESS}:{port}/app:1", timeout_seconds=1000, cancellation=cancellation)
    assert cancellation.cancelled


def test_a_registry_on_this_machine_may_do_without_tls(trusted: Device) -> None:
    with ScriptedServer(lambda _: Reply(200, BODY)).running("127.0.0.1") as server:
        assert sizes(fetch(f"127.0.0.1:{server.port}/app:1")) == (5,)
        assert sizes(fetch(f"localhost:{server.port}/app:1")) == (5,)


def test_a_registry_elsewhere_may_not(trusted: Device) -> None:
    with ScriptedServer(lambda _: Reply(200, BODY)).running(REGISTRY_ADDRESS) as server:
        with pytest.raises(ManifestUnavailable):
            fetch(f"{REGISTRY_ADDRESS}:{server.port}/app:1", CREDENTIAL)

        assert server.asked == []


@pytest.mark.parametrize("tls", [True, False], ids=["unknown authority", "no TLS"])
def test_an_insecure_registry_is_asked_as_it_is(trusted: Device, tmp_path: Path, tls: bool) -> None:
    stranger = CertificateAuthority(tmp_path).issue([SCRIPTED_HOST], [REGISTRY_ADDRESS])
    reference = parse_reference(f"{REGISTRY_ADDRESS}:5000/app:1")
    insecure = replace(classify(reference.registry), insecure=True)

    def registry(asked: Asked) -> Reply:
        signed_in = asked.authorization or not asked.path.endswith("/1")
        return Reply(200, BODY) if signed_in else Reply(401, b"", {"WWW-Authenticate": "Basic"})

    server = ScriptedServer(registry)
    with server.running(REGISTRY_ADDRESS, 5000, stranger if tls else None):
        assert sizes(fetch_manifest(reference, insecure, CREDENTIAL, "linux/amd64")) == (5,)


def test_passwords_of_netrc_are_left_alone(
    trusted: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login robot password netrc-password\n")
    monkeypatch.setenv("NETRC", str(netrc))

    with scripted(trusted, lambda _: Reply(200, BODY)) as server:
        fetch(f"{SCRIPTED_HOST}/app:1")

    assert [each.authorization for each in server.asked] == [""]


def test_nothing_of_it_stays_in_memory(trusted: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts can hold a whole bundle of authorities, and the collector of circles comes rarely."""
    made: list[weakref.ref[ssl.SSLContext]] = []

    def watched(registry: str, *, insecure: bool = False) -> ssl.SSLContext:
        context = trust(registry, insecure=insecure)
        made.append(weakref.ref(context))
        return context

    monkeypatch.setattr("dockermgr.registry_client.trust", watched)
    gc.disable()
    try:
        with scripted(trusted, lambda _: Reply(200, BODY)):
            fetch(f"{SCRIPTED_HOST}/app:1")
        with scripted(trusted, lambda _: Reply(401)), contextlib.suppress(ManifestUnavailable):
            fetch(f"{SCRIPTED_HOST}/app:1")
        with contextlib.suppress(ManifestUnavailable):
            fetch(f"{REGISTRY_ADDRESS}:5000/app:1")
        assert len(made) == 3
        wait_until(lambda: [context() for context in made] == [None] * 3, "contexts to be freed")
    finally:
        gc.enable()


# --- proxies and trust ----------------------------------------------------------------------------


def test_the_way_leads_through_the_proxy_unless_excepted(
    trusted: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = push_image(trusted.public, "team/app", "1")
    seen: list[bytes] = []
    with RawServer(connect_proxy(seen)).running("127.0.0.1") as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://us%40er:pass@127.0.0.1:{port}")
        assert sizes(fetch(pushed.reference)) == pushed.layer_sizes
        monkeypatch.setenv("NO_PROXY", "ecr.aws")
        assert sizes(fetch(pushed.reference)) == pushed.layer_sizes

    (head,) = seen
    assert head.startswith(b"CONNECT public.ecr.aws:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"us@er:pass") in head


@pytest.mark.parametrize(
    "proxy", ["https://127.0.0.1:1", "socks5://127.0.0.1:1", "http://", "http://[x"]
)
def test_a_proxy_of_another_kind_makes_it_unavailable(
    trusted: Device, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(ManifestUnavailable):
        fetch("public.ecr.aws/team/app:1")


def test_a_proxy_that_refuses_makes_it_unavailable(
    trusted: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with RawServer(refuse).running("127.0.0.1") as port:
        monkeypatch.setenv("HTTPS_PROXY", f"user:proxy-password@127.0.0.1:{port}")
        with pytest.raises(ManifestUnavailable, match="the proxy answered HTTP 407") as caught:
            fetch("public.ecr.aws/team/app:1")

    told = "".join(traceback.format_exception(caught.value))
    assert "proxy-password" not in told
    assert caught.value.__context__ is None  # the library's error has all of the URL


def test_a_proxy_without_an_end_is_given_up_in_time(
    trusted: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(_dripping).running("127.0.0.1") as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        with pytest.raises(ManifestUnavailable, match=r"no answer within 0\.5 s"):
            fetch("public.ecr.aws/team/app:1", timeout_seconds=0.5)


def test_certificates_are_verified_for_the_host_that_was_meant(trusted: Device) -> None:
    trusted.dns.names["elsewhere.example.com"] = trusted.public.address

    with pytest.raises(ManifestUnavailable, match="certificate is not trusted"):
        fetch("elsewhere.example.com/team/app:1")


def test_without_an_own_file_the_folder_of_the_system_is_trusted(
    trusted: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pushed = push_image(trusted.public, "team/app", "1")
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    # What requests would trust by itself.
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(trusted.authority.bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted.authority.bundle))
    CertificateAuthority(tmp_path / "stranger")
    with pytest.raises(ManifestUnavailable, match="certificate is not trusted"):
        fetch(pushed.reference)

    # By the name that openssl-rehash gives it.
    name = _subject_hash(trusted.authority.bundle)
    shutil.copy(trusted.authority.bundle, tmp_path / f"{name}.0")

    assert sizes(fetch(pushed.reference)) == pushed.layer_sizes


def _subject_hash(certificate: Path) -> str:
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(certificate)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
