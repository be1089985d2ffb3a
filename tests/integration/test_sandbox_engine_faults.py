"""What a real engine, Docker 20.10, says of each fault: its texts are what `classify.py` reads."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from tests.integration.test_sandbox_device import ECR_LOGIN, pull, pull_error
from tests.integration.test_sandbox_faults import Client
from tests.sandbox import images
from tests.sandbox.aws import ECR_PASSWORD, ECR_USER
from tests.sandbox.certificates import Certificate
from tests.sandbox.device import ECR_HOST, Device
from tests.sandbox.engine import Engine
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
MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST, LAYER, CONFIG = "manifests/", "blobs/(?!{config})", "blobs/{config}"
UNKNOWN = (
    r"pull access denied for \S+, repository does not exist or may require 'docker login': denied: "
)
OF_CONFIG = "error pulling image configuration: "
EXPIRED = "Your authorization token has expired. Reauthenticate and try again."
SAID_BY_AN_ENGINE: dict[str, tuple[str, Fault, str]] = {
    "manifest-500": (
        MANIFEST,
        Fault(answer=answers.server_error(500)),
        "received unexpected HTTP status: 500 Internal Server Error",
    ),
    "manifest-limit": (
        MANIFEST,
        Fault(answer=answers.too_many_requests(answers.GITHUB_LIMIT)),
        "toomanyrequests: retry-after: 718µs, allowed: 44000/minute",
    ),
    "manifest-login": (
        MANIFEST,
        Fault(answer=answers.unauthorized(ECR_HOST)),
        "unauthorized: authentication required",
    ),
    "manifest-denied": (
        MANIFEST,
        Fault(answer=answers.denied_by_iam("app")),
        rf"{UNKNOWN}User: \S+ is not authorized to perform: ecr:BatchGetImage on resource: .+",
    ),
    "manifest-expired": (MANIFEST, Fault(answer=answers.token_expired()), UNKNOWN + EXPIRED),
    "get-expired": (
        MANIFEST,
        Fault(answer=answers.token_expired(), method="GET"),
        f"error after falling back to get manifest by tag: denied: {EXPIRED}",
    ),
    "manifest-portal": (
        MANIFEST,
        Fault(answer=answers.captive_portal()),
        "error unmarshalling content: invalid character '<' looking for beginning of value",
    ),
    "manifest-replaced": (
        MANIFEST,
        Fault(answer=answers.manifest(b"{}", MEDIA_TYPE), method="GET"),
        re.escape(f"mediaType in manifest should be '{MEDIA_TYPE}' not ''"),
    ),
    "manifest-dropped": (MANIFEST, Fault(drop=True), r'Head "\S+/manifests/1": EOF'),
    "layer-503": (
        LAYER,
        Fault(answer=answers.server_error(503, retry_after="9")),
        "received unexpected HTTP status: 503 Service Unavailable",
    ),
    "layer-limit": (
        LAYER,
        Fault(answer=answers.too_many_requests()),
        f"toomanyrequests: {answers.HUB_LIMIT}",
    ),
    "layer-expired": (LAYER, Fault(answer=answers.token_expired()), UNKNOWN + EXPIRED),
    "layer-corrupt": (
        LAYER,
        Fault(corrupt=True),
        r"filesystem layer verification failed for digest sha256:\w+",
    ),
    "layer-truncated": (LAYER, Fault(truncate_after_bytes=1000), "unexpected EOF"),
    "layer-dropped": (LAYER, Fault(drop=True), "EOF"),
    "layer-s3-expired": (
        LAYER,
        Fault(answer=answers.s3_request_expired()),
        "error parsing HTTP 403 response body: invalid character '<' .+Request has expired.+",
    ),
    "config-503": (
        CONFIG,
        Fault(answer=answers.s3_slow_down()),
        (
            f"{OF_CONFIG}download failed after attempts=6: "
            "received unexpected HTTP status: 503 Service Unavailable"
        ),
    ),
    "config-expired": (
        CONFIG,
        Fault(answer=answers.token_expired()),
        f"{OF_CONFIG}download failed after attempts=1: denied: {EXPIRED}",
    ),
    "config-corrupt": (
        CONFIG,
        Fault(corrupt=True),
        rf"{OF_CONFIG}image config verification failed for digest sha256:\w+",
    ),
}


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
    ping = f'Get "https://{ECR_HOST}/v2/": '
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
            ping + text, pull_error(fresh_device.engine, image.reference, ECR_LOGIN)
        )
        assert re.fullmatch(ping + text, login_error(fresh_device.engine))
        proxy.mend()
    proxy.refuse()
    refused = f"{ping}dial tcp {proxy.address}:443: connect: connection refused"
    assert pull_error(fresh_device.engine, image.reference, ECR_LOGIN) == refused
    proxy.mend()
    pull(fresh_device.engine, image.reference, ECR_LOGIN)


def test_an_engine_in_a_black_hole_gives_up_by_itself(fresh_device: Device) -> None:
    image = push(fresh_device, "app")
    fresh_device.put_between(fresh_device.ecr).inject(Break(Kind.STALL))
    with ThreadPoolExecutor() as threads:
        login = threads.submit(login_error, fresh_device.engine)
        error = pull_error(fresh_device.engine, image.reference, ECR_LOGIN)
        assert error == login.result()
    assert error.endswith('/v2/": net/http: TLS handshake timeout')


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
    assert re.fullmatch(r"read tcp \S+->\S+:443: read: connection reset by peer", text)
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

    for error in (
        pull_error(fresh_device.engine, image.reference, ECR_LOGIN),
        login_error(fresh_device.engine),
    ):
        assert re.fullmatch(f'Get "https://{ECR_HOST}/v2/": x509: {text}', error)
    wait_until(lambda: proxy.refused_handshakes == 2, "the server knows of it")
    proxy.certificate = good
    pull(fresh_device.engine, image.reference, ECR_LOGIN)
    # The registry's own files were not written over.
    fresh_device.ecr.stop()
    fresh_device.ecr.start()
    fresh_device.ecr.wait_ready()
    assert fresh_device.ecr.http("GET", "/v2/")[0].status == 200


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
    pushed = {name: push(fresh_device, name, 10_000) for name in SAID_BY_AN_ENGINE}
    for name, (part, fault, _) in SAID_BY_AN_ENGINE.items():
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

    for name, (_, _, text) in SAID_BY_AN_ENGINE.items():
        assert re.fullmatch(text, errors[name]), f"{name}: {errors[name]}"
    proxy.mend()
    pull(engine, pushed["layer-corrupt"].reference, ECR_LOGIN)


def test_an_engine_verifies_a_manifest_by_digest_only(fresh_device: Device) -> None:
    image = push(fresh_device, "app")
    _, manifest = fresh_device.ecr.http(
        "GET", "/v2/app/manifests/1", headers={"Accept": MEDIA_TYPE}
    )
    changed = answers.manifest(manifest + b" ", MEDIA_TYPE)
    fresh_device.put_https_between(fresh_device.ecr).inject(
        Fault(MANIFESTS, method="GET", answer=changed, times=math.inf)
    )
    error = pull_error(fresh_device.engine, image.digest_reference, ECR_LOGIN)
    assert error == f"manifest verification failed for digest {image.manifest_digest}"
    pull(fresh_device.engine, image.reference, ECR_LOGIN)


def test_an_engine_follows_to_s3(fresh_device: Device) -> None:
    image = push(fresh_device, "app")
    proxy = fresh_device.put_https_between(fresh_device.ecr)
    proxy.redirects_blobs = True
    once = Fault(BLOBS, host=proxy.blob_host, truncate_after_bytes=2000, skip=1)
    proxy.inject(once)

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

    # Too large with the archive still there; and too large as an archive already.
    assert re.fullmatch(
        r"failed to register layer: Error processing tar file\(exit status 1\): "
        r"write /data-app-9: no space left on device",
        pull_error(engine, unpacked.reference, ECR_LOGIN),
    )
    assert re.fullmatch(
        r"write \S+/tmp/GetImageBlob\d+: no space left on device",
        pull_error(engine, loaded.reference, ECR_LOGIN),
    )
    pull(engine, fits.reference, ECR_LOGIN)
    fresh_device.reset()
    assert not Path(str(engine.config["data-root"])).exists()
