"""The device in a box is what it says: real parts, counted requests, real faults."""

from __future__ import annotations

import io
import math
import subprocess
from typing import Any

import botocore.exceptions
import docker
import pytest

from tests.integration.engine_texts import NO_LOGIN, NO_MANIFEST
from tests.sandbox import box, images
from tests.sandbox.aws import ACCOUNT, ECR_PASSWORD, ECR_USER, Fault
from tests.sandbox.certificates import CertificateAuthority
from tests.sandbox.device import ECR_HOST, HUB_HOST, OTHER_CREDENTIALS, Device
from tests.sandbox.dns import Mode
from tests.sandbox.engine import Engine
from tests.sandbox.engines import Variant
from tests.sandbox.registry import Credentials

ECR_LOGIN = Credentials(ECR_USER, ECR_PASSWORD)


def pull(engine: Engine, reference: str, login: Credentials | None = None) -> list[dict[str, Any]]:
    """The events of a pull; an error within the stream is raised like the engine's other errors."""
    repository, _, tag = reference.rpartition("@" if "@" in reference else ":")
    auth = None
    if login is not None:
        host = repository.partition("/")[0]
        auth = {"username": login.user, "password": login.password, "serveraddress": host}
    with engine.client() as client:
        stream = client.api.pull(repository, tag=tag, stream=True, decode=True, auth_config=auth)
        events = list(stream)
    for event in events:
        if "error" in event:
            raise docker.errors.APIError(event["error"])
    return events


def pull_error(engine: Engine, reference: str, login: Credentials | None = None) -> str:
    with pytest.raises(docker.errors.APIError) as caught:
        pull(engine, reference, login)
    return str(caught.value.explanation or caught.value)


def docker_command(device: Device, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["docker", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=device.environment(),
        timeout=60,
    )
    return f"{done.stdout}{done.stderr}".strip()


def test_private_ecr_wants_a_login(fresh_device: Device) -> None:
    # Not seen before: the engine remembers manifests, and asks for none twice.
    layers = [images.random_layer("wants a login", 1000)]
    image = images.push_image(fresh_device.ecr, "private/app", "1", layers=layers)

    refused = pull_error(fresh_device.engine, image.reference)
    assert NO_LOGIN[fresh_device.variant] in refused
    wrong = Credentials(ECR_USER, "wrong")
    assert "unauthorized" in pull_error(fresh_device.engine, image.reference, wrong).lower()
    assert [r for r in fresh_device.ecr.requests() if r.is_manifest] == []

    pull(fresh_device.engine, image.reference, ECR_LOGIN)
    assert fresh_device.engine.tags() == {image.reference}
    manifests = [r.path for r in fresh_device.ecr.requests() if r.is_manifest]
    asked = "1" if fresh_device.variant is Variant.PODMAN else image.manifest_digest
    assert manifests == [f"/v2/private/app/manifests/{asked}"]
    assert len([r for r in fresh_device.ecr.requests() if r.is_blob]) == 2


def test_logins_are_counted(fresh_device: Device) -> None:
    with fresh_device.engine.client() as client:
        for _ in range(2):
            client.login(ECR_USER, ECR_PASSWORD, registry=ECR_HOST, reauth=True)
        with pytest.raises(docker.errors.APIError, match="401 Unauthorized"):
            client.login(ECR_USER, "wrong", registry=ECR_HOST, reauth=True)
    requests = fresh_device.ecr.requests()
    assert len([r for r in requests if r.is_login]) == 2
    assert all(r.user_agent.startswith(("docker/", "containers/")) for r in requests)

    fresh_device.ecr.forget_requests()
    assert fresh_device.ecr.requests() == []


def test_a_new_password_ends_the_old_one(fresh_device: Device) -> None:
    image = images.push_image(fresh_device.ecr, "private/rotated", "1")
    fresh_device.ecr.credentials = Credentials(ECR_USER, "next-password")
    assert "unauthorized" in pull_error(fresh_device.engine, image.reference, ECR_LOGIN).lower()
    pull(fresh_device.engine, image.reference, Credentials(ECR_USER, "next-password"))


def test_public_registries_ask_for_nothing(fresh_device: Device) -> None:
    image = images.push_image(fresh_device.public, "public/app", "1")
    images.push_image(fresh_device.public, "library/greeter", "1", host=HUB_HOST)

    pull(fresh_device.engine, image.reference)
    pull(fresh_device.engine, "greeter:1")
    assert fresh_device.engine.tags() == {"greeter:1", "public.ecr.aws/public/app:1"}


def test_plain_docker_logs_in_pulls_and_runs(fresh_device: Device) -> None:
    image = images.push_image(fresh_device.ecr, "private/plain", "1")
    refused = docker_command(fresh_device, "pull", image.reference)
    assert NO_LOGIN[fresh_device.variant] in refused
    login = ["login", "--username", ECR_USER, "--password-stdin", ECR_HOST]
    assert "Login Succeeded" in docker_command(fresh_device, *login, stdin=ECR_PASSWORD)
    docker_command(fresh_device, "pull", image.reference)
    assert fresh_device.engine.tags() == {image.reference}
    said = docker_command(fresh_device, "run", "--rm", image.reference, "echo", "hello")
    docker_command(fresh_device, "logout", ECR_HOST)
    assert said == "hello"


@pytest.mark.parametrize("oci", [False, True])
def test_digests_and_platforms(fresh_device: Device, oci: bool) -> None:
    here, other = images.Platform(), images.Platform("s390x")
    digest, (ours, theirs) = images.push_multi_platform(
        fresh_device.public, f"public/multi-{oci}".lower(), "1", [here, other], oci=oci
    )
    pull(fresh_device.engine, theirs.digest_reference)
    tagged = ours.reference.rpartition("-")[0].rpartition("-")[0]
    pull(fresh_device.engine, tagged)
    with fresh_device.engine.client() as client:
        image = client.images.get(tagged)
        # In containerd's store it is that of the list.
        in_list = fresh_device.variant is Variant.DOCKER26
        assert image.id == (digest if in_list else ours.config_digest)
        assert f"{tagged.rpartition(':')[0]}@{digest}" in image.attrs["RepoDigests"]
        assert client.images.get(theirs.digest_reference).attrs["Architecture"] == "s390x"


def test_images_are_the_same_each_time(fresh_device: Device) -> None:
    layers = images.large_image(7, layers=2, layer_bytes=1000)
    assert layers == images.large_image(7, layers=2, layer_bytes=1000)
    assert layers != images.large_image(8, layers=2, layer_bytes=1000)
    first, again = (
        images.push_image(fresh_device.public, "public/same", tag, layers=layers) for tag in "ab"
    )
    assert first.manifest_digest == again.manifest_digest
    labelled = images.push_image(fresh_device.public, "public/same", "c", labels={"a": "b"})
    assert labelled.manifest_digest != first.manifest_digest


def test_containers_reach_the_registry_over_the_bridge(fresh_device: Device) -> None:
    if not fresh_device.engine.bridge:
        pytest.fail("this kernel has no bridge or no NAT, which a device has")
    image = images.push_image(fresh_device.public, "public/net", "1")
    pull(fresh_device.engine, image.reference)
    with fresh_device.engine.client() as client:
        command = ["sh", "-c", f"nc -w 5 {fresh_device.public.address} 443 </dev/null"]
        client.containers.run(image.reference, command, remove=True)


def test_name_server_and_network_outages(fresh_device: Device) -> None:
    image = images.push_image(fresh_device.public, "public/away", "1")
    engine = fresh_device.engine
    assert "no such host" in pull_error(engine, "public.ecr.awz/app:1")
    for mode, text in {
        Mode.NXDOMAIN: "no such host",
        Mode.SERVFAIL: "server misbehaving",
        Mode.SILENT: "i/o timeout",
    }.items():
        fresh_device.dns.mode = mode
        assert text in pull_error(engine, image.reference)
    fresh_device.dns.mode = Mode.NORMAL
    box.disconnect()
    assert "network is unreachable" in pull_error(engine, image.reference)
    box.connect()
    pull(engine, image.reference)


def test_a_registry_that_is_down_and_comes_back(fresh_device: Device) -> None:
    image = images.push_image(fresh_device.public, "public/down", "1")
    fresh_device.public.stop()
    assert "connection refused" in pull_error(fresh_device.engine, image.reference)
    fresh_device.public.start()
    fresh_device.public.wait_ready()
    pull(fresh_device.engine, image.reference)
    fresh_device.public.delete_manifest("public/down", image.manifest_digest)
    error = pull_error(fresh_device.engine, image.reference)
    assert NO_MANIFEST[fresh_device.variant] in error


def test_tls_is_verified(fresh_device: Device) -> None:
    stranger = CertificateAuthority(fresh_device.folder / "certificates", "stranger")
    registry = fresh_device.start_registry(["stranger.example.com"], authority=stranger)
    registry.wait_ready()
    image = images.push_image(registry, "app", "1")
    assert "x509: certificate signed by unknown authority" in pull_error(
        fresh_device.engine, image.reference
    )
    fresh_device.trust(registry)
    pull(fresh_device.engine, image.reference)


def test_a_private_registry_that_is_not_ecr(fresh_device: Device) -> None:
    registry = fresh_device.start_other_registry()
    image = images.push_image(registry, "team/app", "1")
    refused = pull_error(fresh_device.engine, image.reference)
    assert NO_LOGIN[fresh_device.variant] in refused
    pull(fresh_device.engine, image.reference, OTHER_CREDENTIALS)
    fresh_device.reset()
    assert "no such host" in pull_error(fresh_device.engine, image.reference)


def test_ecr_tokens_are_counted(fresh_device: Device) -> None:
    answer = fresh_device.aws.client("ecr").get_authorization_token()
    token = answer["authorizationData"][0]
    assert token["authorizationToken"] == "QVdTOjEyMzQ1Njc4OTAxMi1hdXRoLXRva2Vu"
    assert token["proxyEndpoint"] == f"https://{ECR_HOST}"
    fresh_device.aws.client("ecr", "eu-west-1", "other-key").get_authorization_token()
    fresh_device.aws.client("ecr-public").get_authorization_token()

    calls = fresh_device.aws.calls("GetAuthorizationToken")
    assert [(call.service, call.region, call.access_key) for call in calls] == [
        ("ecr", "us-east-1", "test"),
        ("ecr", "eu-west-1", "other-key"),
        ("ecr-public", "us-east-1", "test"),
    ]


def test_aws_fails_and_dawdles_on_demand(fresh_device: Device) -> None:
    aws = fresh_device.aws
    aws.fail("GetAuthorizationToken", 400, "AccessDeniedException")
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDeniedException"):
        aws.client("ecr").get_authorization_token()
    aws.fail("GetAuthorizationToken", 500, "ServerException", times=2)
    aws.inject(Fault("GetAuthorizationToken", delay_seconds=0.2))
    aws.client("ecr").get_authorization_token()
    calls = aws.calls("GetAuthorizationToken")
    assert len(calls) == 4
    aws.inject(Fault("GetCallerIdentity", 503, times=math.inf, service="sts"))
    with pytest.raises(botocore.exceptions.ClientError, match="503"):
        aws.client("sts").get_caller_identity()
    aws.reset()
    assert aws.client("sts").get_caller_identity()["Account"] == ACCOUNT
    assert [call.action for call in aws.calls()] == ["GetCallerIdentity"]


def test_s3_and_secrets(fresh_device: Device) -> None:
    s3 = fresh_device.aws.client("s3")
    content = b"0123456789abcdef" * 200_000
    s3.create_bucket(Bucket="archives")
    s3.upload_fileobj(io.BytesIO(content), "archives", "folder/image.tar")
    assert s3.get_object(Bucket="archives", Key="folder/image.tar")["Body"].read() == content
    ranged = s3.get_object(Bucket="archives", Key="folder/image.tar", Range="bytes=4-7")
    assert ranged["Body"].read() == b"4567"
    with pytest.raises(botocore.exceptions.ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="archives", Key="none")
    assert len(fresh_device.aws.calls("GET")) == 3

    secrets = fresh_device.aws.client("secretsmanager")
    secrets.create_secret(Name="registry", SecretString="text")
    assert secrets.get_secret_value(SecretId="registry")["SecretString"] == "text"
