"""Manifests out of real registries, over verified TLS; and who gets which credentials."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.parse
from pathlib import Path

import pytest

from dockermgr.credentials import Credential
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.manifest import ManifestUnavailable, fetch_diff_ids
from dockermgr.reference import parse_reference
from dockermgr.registry import classify
from dockermgr.space import present_layers
from tests.integration.manifests import (
    BODY,
    OCI,
    OCI_LIST,
    SCRIPTED_HOST,
    TOKEN_ADDRESS,
    fetch,
    scripted,
    sizes,
)
from tests.integration.scripted_server import Asked, Reply, ScriptedServer
from tests.sandbox import box
from tests.sandbox.aws import ECR_PASSWORD, ECR_USER
from tests.sandbox.device import ECR_HOST, OTHER_CREDENTIALS, OTHER_HOST, Device
from tests.sandbox.images import (
    Layer,
    Platform,
    push_image,
    push_multi_platform,
    random_layer,
    small_image,
)
from tests.sandbox.secrets import SECRETS

ECR_CREDENTIAL = Credential(ECR_USER, ECR_PASSWORD)
OTHER_CREDENTIAL = Credential(OTHER_CREDENTIALS.user, OTHER_CREDENTIALS.password)
PLATFORMS = [Platform("amd64"), Platform("arm64"), Platform("arm", variant="v7")]
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
TOKEN_HOST = "auth.example.com"


@pytest.fixture
def trusted(fresh_device: Device, monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device whose authority this process trusts, as others trust the public ones."""
    monkeypatch.setenv("SSL_CERT_FILE", str(fresh_device.authority.bundle))
    return fresh_device


# --- real registries ------------------------------------------------------------------------------


def test_an_image_of_a_private_ecr_costs_one_request(trusted: Device) -> None:
    pushed = push_image(
        trusted.ecr, "team/app", "1", layers=[*small_image(), random_layer(1, 70_000)]
    )
    trusted.ecr.forget_requests()

    manifest = fetch(pushed.reference, ECR_CREDENTIAL)

    assert sizes(manifest) == pushed.layer_sizes
    assert manifest.digest == pushed.manifest_digest
    assert manifest.config.digest == pushed.config_digest
    assert manifest.platforms == ()
    (request,) = trusted.ecr.requests()
    assert request.is_manifest
    assert request.user_agent.startswith("dockermgr/")
    assert fetch(pushed.digest_reference, ECR_CREDENTIAL) == manifest


@pytest.mark.parametrize("oci", [False, True], ids=["docker", "oci"])
def test_a_list_leads_to_the_image_for_the_platform(trusted: Device, oci: bool) -> None:
    digest, _ = push_multi_platform(trusted.public, "team/app", "1", PLATFORMS, oci=oci)
    trusted.public.forget_requests()

    manifest = fetch("public.ecr.aws/team/app:1", platform="linux/aarch64")

    assert manifest.digest == digest
    assert manifest.platforms == ("linux/amd64", "linux/arm64", "linux/arm/v7")
    assert manifest.layers
    assert len(trusted.public.requests()) == 2


def test_each_platform_gets_its_own_layers(trusted: Device) -> None:
    images = {
        name: push_image(
            trusted.public, "team/app", name, layers=[random_layer(name, 2_000)], platform=platform
        )
        for name, platform in zip(("amd64", "arm64", "arm"), PLATFORMS, strict=True)
    }
    entries = [
        {"digest": image.manifest_digest, "size": 1, "mediaType": DOCKER,
         "platform": image.platform.as_json()}
        for image in images.values()
    ]  # fmt: skip
    index = {"schemaVersion": 2, "mediaType": OCI_LIST, "manifests": entries}
    trusted.public.put_manifest("team/app", "1", json.dumps(index).encode(), OCI_LIST)

    for name, image in images.items():
        manifest = fetch("public.ecr.aws/team/app:1", platform=f"linux/{name}")
        single = fetch(f"public.ecr.aws/team/app@{image.manifest_digest}")
        assert manifest.layers == single.layers


def test_docker_hub_is_asked_where_its_api_is(trusted: Device) -> None:
    pushed = push_image(trusted.public, "library/tool", "2.0")

    assert sizes(fetch("tool:2.0")) == pushed.layer_sizes


def test_a_list_without_the_platform_is_a_mismatch_that_names_the_others(trusted: Device) -> None:
    push_multi_platform(trusted.public, "team/app", "1", PLATFORMS[1:])

    with pytest.raises(DockermgrError) as caught:
        fetch("public.ecr.aws/team/app:1", platform="linux/x86_64")

    assert caught.value.code is ErrorCode.IMAGE_PLATFORM_MISMATCH
    assert caught.value.retry is Retry.NEVER
    assert caught.value.message == (
        "public.ecr.aws/team/app:1 is not published for linux/amd64, "
        "only for linux/arm64, linux/arm/v7"
    )


def test_a_registry_that_the_engine_trusts_is_trusted_here(trusted: Device) -> None:
    other = trusted.start_other_registry()
    pushed = push_image(other, "team/app", "1")

    assert sizes(fetch(pushed.reference, OTHER_CREDENTIAL)) == pushed.layer_sizes

    shutil.rmtree(Path("/etc/docker/certs.d") / OTHER_HOST)
    with pytest.raises(ManifestUnavailable, match="certificate is not trusted"):
        fetch(pushed.reference, OTHER_CREDENTIAL)


@pytest.mark.parametrize(
    ("image", "credential", "reason"),
    [
        (f"{ECR_HOST}/team/none:1", ECR_CREDENTIAL, "HTTP 404"),
        (f"{ECR_HOST}/team/none:1", Credential("AWS", "old-token"), "refused the credentials"),
        (f"{ECR_HOST}/team/none:1", None, "refused the credentials, or wants some"),
        ("nowhere.example.com/app:1", None, "nowhere.example.com:443: "),
        (f"{box.NETWORK}.250/app:1", None, "Connection refused"),
        ("x" * 64 + ".example.com/app:1", None, "no usable answer"),
    ],
)
def test_what_cannot_be_had_is_unavailable(
    trusted: Device, image: str, credential: Credential | None, reason: str
) -> None:
    with pytest.raises(ManifestUnavailable, match=reason):
        fetch(image, credential)


def test_layers_that_the_engine_has_are_found(trusted: Device) -> None:
    base: list[Layer] = [*small_image(), random_layer("runtime", 50_000)]
    first = push_image(trusted.ecr, "team/app", "1", layers=[*base, random_layer("one", 5_000)])
    second = push_image(trusted.ecr, "team/app", "2", layers=[*base, random_layer("two", 6_000)])
    with trusted.engine.client() as client:
        client.images.pull(
            first.reference,
            auth_config={"username": ECR_USER, "password": ECR_PASSWORD},
        )
        local = [image.attrs["RootFS"]["Layers"] for image in client.images.list()]
    reference = parse_reference(second.reference)
    registry = classify(reference.registry)
    manifest = fetch(second.reference, ECR_CREDENTIAL)

    diff_ids = fetch_diff_ids(reference, registry, ECR_CREDENTIAL, manifest)

    missing = [
        layer.size_bytes
        for layer in manifest.layers
        if layer.digest not in present_layers(manifest, diff_ids, local)
    ]
    assert missing == [second.layer_sizes[-1]]


# --- who gets which credentials -------------------------------------------------------------------


def basic(credential: Credential) -> str:
    login = f"{credential.username}:{credential.password}"
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def token_registry(asked: Asked) -> Reply:
    """Wants a token from `TOKEN_HOST`."""
    if asked.authorization == "Bearer good-token":
        return Reply(200, BODY, {"Content-Type": OCI})
    realm = f'Bearer realm="https://{TOKEN_HOST}/token",service="the registry"'
    return Reply(401, b'{"errors": []}', {"WWW-Authenticate": realm})


def token_server(asked: Asked) -> Reply:
    SECRETS.add("the token of a token server", "good-token")
    return Reply(200, b'{"token": "good-token"}')


@pytest.mark.parametrize("credential", [None, OTHER_CREDENTIAL], ids=["anonymous", "signed in"])
def test_a_token_is_fetched_where_the_registry_says(
    trusted: Device, credential: Credential | None
) -> None:
    with (
        scripted(trusted, token_registry) as registry,
        scripted(trusted, token_server, TOKEN_HOST, TOKEN_ADDRESS) as tokens,
    ):
        assert sizes(fetch(f"{SCRIPTED_HOST}/team/app:1", credential)) == (5,)

    (asked,) = tokens.asked
    assert asked.authorization == (basic(credential) if credential else "")
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(asked.path).query) == {
        "scope": ["repository:team/app:pull"], "service": ["the registry"],
    }  # fmt: skip
    assert [each.authorization for each in registry.asked] == ["", "Bearer good-token"]
    assert {each.connection for each in registry.asked} == {1}


def test_credentials_of_ecr_never_go_to_a_token_server_elsewhere(trusted: Device) -> None:
    with (
        scripted(trusted, token_registry, ECR_HOST) as registry,
        scripted(trusted, token_server, TOKEN_HOST, TOKEN_ADDRESS) as tokens,
        pytest.raises(ManifestUnavailable, match="refused the credentials"),
    ):
        fetch(f"{ECR_HOST}/team/app:1", ECR_CREDENTIAL)

    assert tokens.asked == []
    assert [each.authorization for each in registry.asked] == [basic(ECR_CREDENTIAL)]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500), Reply(302, b"", {"Location": "https://elsewhere.example.com/"}),
        Reply(200, b"["), Reply(200, b"[]"), Reply(200, b"{}"), Reply(200, b"[" * 100_000),
        Reply(200, b'{"token": "a\\r\\nb"}'), Reply(200, b" " * 300_000),
    ],
)  # fmt: skip
def test_a_broken_token_server_makes_it_unavailable(trusted: Device, reply: Reply) -> None:
    with (
        scripted(trusted, token_registry),
        scripted(trusted, lambda _: reply, TOKEN_HOST, TOKEN_ADDRESS),
        pytest.raises(ManifestUnavailable),
    ):
        fetch(f"{SCRIPTED_HOST}/team/app:1", OTHER_CREDENTIAL)


def test_a_token_server_without_tls_is_not_asked(trusted: Device) -> None:
    realm = f'Bearer realm="http://{TOKEN_ADDRESS}/token"'
    with (
        scripted(trusted, lambda _: Reply(401, b"", {"WWW-Authenticate": realm})),
        ScriptedServer(token_server).running(TOKEN_ADDRESS, 80) as tokens,
        pytest.raises(ManifestUnavailable),
    ):
        fetch(f"{SCRIPTED_HOST}/team/app:1", OTHER_CREDENTIAL)

    assert tokens.asked == []


def test_no_redirection_leads_out_of_tls(trusted: Device) -> None:
    away = Reply(307, b"", {"Location": f"http://{TOKEN_ADDRESS}/x"})
    with (
        scripted(trusted, lambda _: away),
        ScriptedServer(lambda _: Reply(200, BODY)).running(TOKEN_ADDRESS, 80) as elsewhere,
        pytest.raises(ManifestUnavailable, match="without TLS"),
    ):
        fetch(f"{SCRIPTED_HOST}/app:1")

    assert elsewhere.asked == []


def test_credentials_do_not_follow_a_redirection_to_another_host(trusted: Device) -> None:
    def registry(asked: Asked) -> Reply:
        if not asked.authorization:
            return Reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
        if "moved" not in asked.path:
            return Reply(307, b"", {"Location": "/moved"})
        return Reply(307, b"", {"Location": f"https://{TOKEN_HOST}/elsewhere?signature=x"})

    with (
        scripted(trusted, registry) as first,
        scripted(trusted, lambda _: Reply(200, BODY), TOKEN_HOST, TOKEN_ADDRESS) as second,
    ):
        assert sizes(fetch(f"{SCRIPTED_HOST}/app:1", OTHER_CREDENTIAL)) == (5,)

    expected = basic(OTHER_CREDENTIAL)
    assert [each.authorization for each in first.asked] == ["", expected, expected]
    assert [each.authorization for each in second.asked] == [""]
    assert second.asked[0].path == "/elsewhere?signature=x"


@pytest.mark.parametrize(
    "location",
    ["", "/v2/app/manifests/1", f"http://{TOKEN_HOST}/x", "ftp://a/b", "https://[", "\x7f"],
)
def test_a_redirection_to_nowhere_is_unavailable(trusted: Device, location: str) -> None:
    with (
        scripted(trusted, lambda _: Reply(302, b"", {"Location": location})) as server,
        pytest.raises(ManifestUnavailable),
    ):
        fetch(f"{SCRIPTED_HOST}/app:1")

    assert len(server.asked) <= 4
