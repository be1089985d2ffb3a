"""What a real engine says of each fault: its texts are what `classify.py` reads."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from tests.integration.engine_texts import (
    DISK_FULL,
    FAULTS,
    MEDIA_TYPE,
    ON_CERTIFICATE,
    ON_LOGIN,
    ON_REQUEST,
    OTHER_MANIFEST,
    SAID,
)
from tests.integration.test_sandbox_device import ECR_LOGIN, pull, pull_error
from tests.integration.test_sandbox_faults import Client
from tests.sandbox import images
from tests.sandbox.aws import ECR_PASSWORD, ECR_USER
from tests.sandbox.certificates import Certificate
from tests.sandbox.device import ECR_HOST, Device
from tests.sandbox.engine import Engine
from tests.sandbox.engines import Variant
from tests.sandbox.faults import answers, certificates
from tests.sandbox.faults.link import Break, Kind
from tests.sandbox.faults.rules import BLOBS, MANIFESTS, PING, Fault
from tests.sandbox.processes import wait_until

MIB = 1024 * 1024
IMPATIENT = {
    "bridge": "none",
    "iptables": False,
    "max-download-attempts": 1,
    "max-concurrent-downloads": 50,
}
"""dockerd tries each layer twice then, 5 s apart."""


def push(device: Device, repository: str, size_bytes: int = MIB) -> images.PushedImage:
    """An image of one layer that no other image has."""
    layer = images.random_layer(repository, size_bytes)
    return images.push_image(device.ecr, repository, "1", layers=[layer])


def start_impatient_engine(device: Device) -> Engine:
    engine = device.start_engine("impatient", config=IMPATIENT)
    engine.wait_ready()
    return engine


def login_error(engine: Engine) -> str:
    with engine.client() as client, pytest.raises(docker.errors.APIError) as caught:
        client.login(ECR_USER, ECR_PASSWORD, registry=ECR_HOST, reauth=True)
    return str(caught.value.explanation)


def test_an_engine_on_broken_connections(fresh_device: Device) -> None:
    image = push(fresh_device, "app")
    proxy = fresh_device.put_between(fresh_device.ecr)
    pulling, login = ON_REQUEST[fresh_device.variant], ON_LOGIN[fresh_device.variant]
    for broken, text in {
        Break(Kind.RESET): r"read tcp \S+->\S+:443: read: connection reset by peer",
        Break(Kind.CUT): "EOF",
        Break(Kind.CUT, after_bytes=500): "unexpected EOF",
        Break(Kind.GARBAGE): "http: server gave HTTP response to HTTPS client",
        Break(Kind.GARBAGE, garbage=b"\0" * 64): (
            "tls: first record does not look like a TLS handshake"
        ),
    }.items():
        proxy.inject(broken)
        assert re.fullmatch(
            pulling + text, pull_error(fresh_device.engine, image.reference, ECR_LOGIN)
        )
        assert re.fullmatch(login + text, login_error(fresh_device.engine))
        proxy.mend()
    proxy.refuse()
    refused = f"{pulling}dial tcp {proxy.address}:443: connect: connection refused"
    assert re.fullmatch(refused, pull_error(fresh_device.engine, image.reference, ECR_LOGIN))
    proxy.mend()
    pull(fresh_device.engine, image.reference, ECR_LOGIN)


def test_an_engine_in_a_black_hole_gives_up_by_itself(fresh_device: Device) -> None:
    image = push(fresh_device, "app")
    fresh_device.put_between(fresh_device.ecr).inject(Break(Kind.STALL))
    with ThreadPoolExecutor() as threads:
        login = threads.submit(login_error, fresh_device.engine)
        error = pull_error(fresh_device.engine, image.reference, ECR_LOGIN)
    text = "net/http: TLS handshake timeout"
    assert re.fullmatch(ON_REQUEST[fresh_device.variant] + text, error)
    assert re.fullmatch(ON_LOGIN[fresh_device.variant] + text, login.result())


def test_an_engine_waits_for_a_stalled_layer_for_ever(fresh_device: Device) -> None:
    image = push(fresh_device, "app")
    proxy = fresh_device.put_between(fresh_device.ecr)
    proxy.inject(Break(Kind.STALL, after_bytes=500_000, times=1))
    with ThreadPoolExecutor() as threads:
        pulled = threads.submit(pull, fresh_device.engine, image.reference, ECR_LOGIN)
        proxy.wait_for(struck=1)
        assert not pulled.done()
        proxy.mend()
        pulled.result()


@pytest.mark.not_on("podman", reason="It never goes on with a layer that was cut off")
def test_an_engine_resumes_a_layer(fresh_device: Device) -> None:
    lost, resumed = push(fresh_device, "lost"), images.push_image(fresh_device.public, "resumed")
    fresh_device.put_between(fresh_device.ecr).inject(Break(Kind.RESET, after_bytes=500_000))
    once = fresh_device.put_between(fresh_device.public)
    once.inject(Break(Kind.CUT, after_bytes=500_000, times=1))
    engine = start_impatient_engine(fresh_device)
    # Both wait 5 s before the second attempt.
    with ThreadPoolExecutor() as threads:
        error = threads.submit(pull_error, engine, lost.reference, ECR_LOGIN)
        pull(engine, resumed.reference)
        text = error.result()
    assert re.search(r"read tcp \S+->\S+:443: read: connection reset by peer$", text)
    assert once.struck == 1
    assert 206 in [r.status for r in fresh_device.public.requests()]


@pytest.mark.parametrize(
    ("issue", "text"),
    [
        (
            lambda device, names: certificates.of_unknown_authority(device.folder, names),
            "certificate signed by unknown authority",
        ),
        (
            lambda device, names: certificates.of_wrong_name(device.authority),
            f"certificate is valid for {certificates.WRONG_NAME}, not {ECR_HOST}",
        ),
        (
            lambda device, names: certificates.expired(device.authority, names),
            r"certificate has expired or is not yet valid: current time \S+ is after \S+",
        ),
        (
            lambda device, names: certificates.not_yet_valid(device.authority, names),
            r"certificate has expired or is not yet valid: current time \S+ is before \S+",
        ),
    ],
    ids=["unknown authority", "wrong name", "expired", "not yet valid"],
)
def test_an_engine_and_certificates(
    fresh_device: Device, issue: Callable[[Device, Sequence[str]], Certificate], text: str
) -> None:
    image = push(fresh_device, "app")
    proxy = fresh_device.put_https_between(fresh_device.ecr)
    good, proxy.certificate = proxy.certificate, issue(fresh_device, proxy.names)

    pulling, login = ON_REQUEST[fresh_device.variant], ON_LOGIN[fresh_device.variant]
    text = ON_CERTIFICATE[fresh_device.variant] + text
    assert re.fullmatch(pulling + text, pull_error(fresh_device.engine, image.reference, ECR_LOGIN))
    assert re.fullmatch(login + text, login_error(fresh_device.engine))
    wait_until(lambda: proxy.refused_handshakes >= 2, "the server knows of it")
    proxy.certificate = good
    pull(fresh_device.engine, image.reference, ECR_LOGIN)
    # The registry's own files were not written over.
    fresh_device.ecr.stop()
    fresh_device.ecr.start()
    fresh_device.ecr.wait_ready()
    assert fresh_device.ecr.http("GET", "/v2/")[0].status == 200


@pytest.mark.not_on("docker26", reason="It asks for the manifest at once, without that request")
@pytest.mark.not_on("podman", reason="It says what is wrong with the first request")
def test_an_engine_hides_what_is_wrong_with_the_first_request(fresh_device: Device) -> None:
    image = push(fresh_device, "app")
    proxy = fresh_device.put_https_between(fresh_device.ecr)
    for answer, status in (
        (answers.server_error(503), "503 Service Unavailable"),
        (answers.too_many_requests(), "429 Too Many Requests"),
        (answers.token_expired(), "403 Forbidden"),
    ):
        proxy.inject(Fault(PING, answer=answer, times=math.inf))
        # It goes on without credentials, since nobody has asked for them.
        error = pull_error(fresh_device.engine, image.reference, ECR_LOGIN)
        assert error == "unauthorized: authentication required"
        attempt = f"login attempt to https://{ECR_HOST}/v2/ failed with status: {status}"
        assert login_error(fresh_device.engine) == attempt
        proxy.mend()
    pull(fresh_device.engine, image.reference, ECR_LOGIN)


def test_an_engine_on_answers_of_all_kinds(fresh_device: Device) -> None:
    proxy = fresh_device.put_https_between(fresh_device.ecr)
    texts = SAID[fresh_device.variant]
    pushed = {name: push(fresh_device, name, 10_000) for name in texts}
    for name in texts:
        part, fault = FAULTS[name]
        path = f"/v2/{name}/{part.format(config=pushed[name].config_digest)}"
        proxy.inject(dataclasses.replace(fault, path=path, times=math.inf))
    engine = start_impatient_engine(fresh_device)

    # At the same time: some take two attempts of the engine, 5 s apart.
    with ThreadPoolExecutor(len(pushed)) as threads:
        said = {
            name: threads.submit(pull_error, engine, image.reference, ECR_LOGIN)
            for name, image in pushed.items()
        }
        errors = {name: error.result() for name, error in said.items()}

    for name, text in texts.items():
        assert re.fullmatch(text, errors[name]), f"{name}: {errors[name]}"
    proxy.mend()
    if fresh_device.variant is Variant.DOCKER26:  # which goes on with what is damaged
        engine.restart()
    pull(engine, pushed["layer-corrupt"].reference, ECR_LOGIN)


def test_an_engine_verifies_a_manifest_by_digest_only(fresh_device: Device) -> None:
    # One of its own: containerd's store never lets go of a manifest that was too long.
    image = push(fresh_device, "replaced")
    _, manifest = fresh_device.ecr.http(
        "GET", "/v2/replaced/manifests/1", headers={"Accept": MEDIA_TYPE}
    )
    changed = answers.manifest(manifest + b" ", MEDIA_TYPE)
    fresh_device.put_https_between(fresh_device.ecr).inject(
        Fault(MANIFESTS, method="GET", answer=changed, times=math.inf)
    )
    error = pull_error(fresh_device.engine, image.digest_reference, ECR_LOGIN)
    assert re.fullmatch(OTHER_MANIFEST[fresh_device.variant], error)
    if fresh_device.variant is Variant.DOCKER26:  # which goes by the digest that HEAD said
        assert re.fullmatch(
            OTHER_MANIFEST[fresh_device.variant],
            pull_error(fresh_device.engine, image.reference, ECR_LOGIN),
        )
    else:
        pull(fresh_device.engine, image.reference, ECR_LOGIN)


def test_an_engine_follows_to_s3(fresh_device: Device) -> None:
    image = push(fresh_device, "app")
    proxy = fresh_device.put_https_between(fresh_device.ecr)
    proxy.redirects_blobs = True
    once = Fault(BLOBS, host=proxy.blob_host, truncate_after_bytes=2000, skip=1)
    proxy.inject(once)

    if fresh_device.variant is Variant.PODMAN:  # which resumes nothing
        error = pull_error(fresh_device.engine, image.reference, ECR_LOGIN)
        assert error.endswith("unexpected EOF")
    pull(fresh_device.engine, image.reference, ECR_LOGIN)

    told = [r for r in proxy.requests(BLOBS) if r.host == ECR_HOST]
    fetched = [r for r in proxy.requests(BLOBS) if r.host == proxy.blob_host]
    assert {r.status for r in told} == {307}
    assert {r.path for r in fetched} == {r.path for r in told}
    assert {r.status for r in fetched} <= {200, 206}
    # Nobody gets there without the signature, nor with a password as well.
    refused: tuple[dict[str, str], ...] = {}, {"Authorization": "Basic QVdTOng="}
    with Client(fresh_device, proxy.blob_host) as client:
        statuses = [client.ask(fetched[0].path, **headers)[0].status for headers in refused]
    assert statuses == [403, 400]


def test_an_engine_on_a_small_disk(fresh_device: Device) -> None:
    engine = fresh_device.start_small_engine(16)
    fits, unpacked, loaded = (push(fresh_device, f"app-{n}", n * MIB) for n in (2, 9, 20))
    engine.wait_ready()

    if fresh_device.variant is not Variant.PODMAN:  # which has the archives in /var/tmp
        # Too large with the archive still there; and too large as an archive already.
        assert re.fullmatch(
            DISK_FULL[fresh_device.variant], pull_error(engine, unpacked.reference, ECR_LOGIN)
        )
        assert re.search(
            r"write \S+(/tmp/GetImageBlob\d+|/ingest/\w+/\w+): no space left on device",
            pull_error(engine, loaded.reference, ECR_LOGIN),
        )
    else:
        error = pull_error(engine, loaded.reference, ECR_LOGIN)
        assert re.fullmatch(DISK_FULL[Variant.PODMAN], error)
    if fresh_device.variant is Variant.DOCKER26:  # which keeps the pieces until it tidies up
        engine.restart()
    pull(engine, fits.reference, ECR_LOGIN)
    fresh_device.reset()
    assert not Path(str(engine.config["data-root"])).exists()
