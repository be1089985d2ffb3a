"""What engines and registries say, and what it means: the texts are the engines' own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.classify import from_engine_text, in_the_registrys_words, of_login
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.retry_after import retry_after_seconds

HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
DIGEST = "sha256:" + "0429401500" * 6 + "abcd"

THROTTLED = [
    (
        "toomanyrequests: You have reached your pull rate limit. You may increase the limit by"
        " authenticating and upgrading: https://www.docker.com/increase-rate-limit"
    ),
    "toomanyrequests: Rate exceeded",
    "toomanyrequests: retry-after: 718µs, allowed: 44000/minute",
    'Head "https://registry-1.docker.io/v2/library/nginx/manifests/1": Too Many Requests',
    (
        "error parsing HTTP 429 response body: invalid character 'T' looking for beginning of value:"
        ' "Too Many Requests (HAP429).\\n"'
    ),
    "denied: ThrottlingException: Rate exceeded",
    f"login attempt to https://{HOST}/v2/ failed with status: 429 Too Many Requests",
    (
        f"failed to copy: httpReadSeeker: failed open: unexpected status code https://{HOST}/v2/app/"
        f"blobs/{DIGEST}: 429 Too Many Requests - Server message: toomanyrequests: slow down"
    ),
]
DISK = [
    (
        "failed to register layer: Error processing tar file(exit status 1): write /data: no space left"
        " on device"
    ),
    "write /var/lib/docker/tmp/GetImageBlob123456789: no space left on device",
    (
        f"failed to extract layer {DIGEST}: mount callback failed on /tmp/m: write /tmp/m/x: no space"
        " left on device: unknown"
    ),
]
PLATFORM = [
    "no matching manifest for linux/arm64/v8 in the manifest list entries",
    (
        "no matching manifest for linux/arm64/v8 in the manifest list entries: no match for platform in"
        " manifest: not found"
    ),
    "no match for platform in manifest: not found",
    (
        "image with reference docker.io/library/nginx:1 was found but does not match the specified"
        " platform: wanted linux/arm64, actual: linux/amd64"
    ),
    (
        'image operating system "windows" cannot be used on this platform: operating system is not'
        " supported"
    ),
]
NOT_AUTHORIZED = [
    (
        "pull access denied for x, repository does not exist or may require 'docker login': denied:"
        " User: arn:aws:sts::123456789012:assumed-role/r/i is not authorized to perform:"
        " ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:123456789012:repository/app"
    ),
    (
        "denied: User: arn:aws:sts::123456789012:assumed-role/r/i is not authorized to perform:"
        " ecr:GetDownloadUrlForLayer on resource: arn:aws:ecr:us-east-1:123456789012:repository/app"
        " because no identity-based policy allows the action"
    ),
]
LOGIN = [
    f"login attempt to https://{HOST}/v2/ failed with status: 401 Unauthorized",
    f'Head "https://{HOST}/v2/app/manifests/1": no basic auth credentials',
    "denied: Your authorization token has expired. Reauthenticate and try again.",
    (
        "pull access denied for x, repository does not exist or may require 'docker login': denied: Your"
        " authorization token has expired. Reauthenticate and try again."
    ),
    "unauthorized: authentication required",
    "unauthorized: incorrect username or password",
    'Get "https://registry.gitlab.com/v2/": unauthorized: HTTP Basic: Access denied',
    (
        f'failed to resolve reference "{HOST}/app:1": unexpected status from HEAD request to https://'
        f"{HOST}/v2/app/manifests/1: 401 Unauthorized"
    ),
    (
        'failed to resolve reference "registry.example.com/app:1": failed to authorize: failed to fetch'
        " oauth token: unexpected status from GET request to https://auth.example.com/token: 401"
        " Unauthorized"
    ),
    (
        f"login attempt to {HOST} failed with status: pinging container registry {HOST}: invalid status"
        " code from registry 403 (Forbidden)"
    ),
]
DIGESTS = [
    f"filesystem layer verification failed for digest {DIGEST}",
    (
        f'failed commit on ref "layer-{DIGEST}": unexpected commit digest sha256:{"a" * 64}, expected'
        f" {DIGEST}: failed precondition"
    ),
    f"manifest verification failed for digest {DIGEST}",
    (
        f'failed commit on ref "manifest-{DIGEST}": commit failed: "manifest-{DIGEST}" failed size'
        " validation: 445 != 444: failed precondition"
    ),
]
UNKNOWN_IMAGE = [
    "manifest for nginx:absent not found: manifest unknown: manifest unknown",
    f"manifest for {HOST}/app:absent not found: manifest unknown: Requested image not found",
    (
        "name unknown: The repository with name 'app' does not exist in the registry with id"
        " '123456789012'"
    ),
    f"repository {HOST}/app not found: name unknown: The repository with name 'app' does not exist",
    (
        "pull access denied for nope, repository does not exist or may require 'docker login': denied:"
        " requested access to the resource is denied"
    ),
    (
        "pull access denied, repository does not exist or may require authorization: server message:"
        " insufficient_scope: authorization failed"
    ),
    'Head "https://ghcr.io/v2/someone/app/manifests/1": denied',
    f'failed to resolve reference "{HOST}/app:absent": {HOST}/app:absent: not found',
]
CLOCK = [
    (
        f'Get "https://{HOST}/v2/": x509: certificate has expired or is not yet valid: current time'
        " 1970-01-01T00:00:42Z is before 2024-01-01T00:00:00Z"
    ),
    (
        f'failed to do request: Head "https://{HOST}/v2/app/manifests/1": tls: failed to verify'
        " certificate: x509: certificate has expired or is not yet valid"
    ),
]
TLS = [
    f'Get "https://{HOST}/v2/": x509: certificate signed by unknown authority',
    f'Get "https://{HOST}/v2/": http: server gave HTTP response to HTTPS client',
    f'Get "https://{HOST}/v2/": tls: first record does not look like a TLS handshake',
]
NETWORK = [
    f'Get "https://{HOST}/v2/": x509: certificate is valid for a.example, not {HOST}',
    f'Get "https://{HOST}/v2/": dial tcp: lookup {HOST} on 127.0.0.53:53: no such host',
    f'Get "https://{HOST}/v2/": dial tcp 10.0.0.1:443: connect: connection refused',
    f'Get "http://{HOST}/v2/": dial tcp 127.0.0.2:80: connect: connection refused',
    f'Get "https://{HOST}/v2/": dial tcp 10.0.0.1:443: i/o timeout',
    f'Get "https://{HOST}/v2/": net/http: TLS handshake timeout',
    (
        f'Get "https://{HOST}/v2/": read tcp 10.0.0.2:50042->10.0.0.1:443: read: connection reset by'
        " peer"
    ),
    (
        f'Get "https://{HOST}/v2/": context deadline exceeded (Client.Timeout exceeded while awaiting'
        " headers)"
    ),
    (
        f'Get "https://{HOST}/v2/": net/http: request canceled while waiting for connection'
        " (Client.Timeout exceeded while awaiting headers)"
    ),
    f'Get "https://{HOST}/v2/": dial tcp: lookup {HOST}: Temporary failure in name resolution',
    f'Get "https://{HOST}/v2/": dial tcp: lookup {HOST} on [::1]:53: server misbehaving',
    f'Get "https://{HOST}/v2/": dial tcp 10.0.0.1:443: connect: no route to host',
    f'Get "https://{HOST}/v2/": dial tcp 10.0.0.1:443: connect: network is unreachable',
    (
        f'Get "https://{HOST}/v2/": proxyconnect tcp: dial tcp 10.0.0.3:3128: connect: connection'
        " refused"
    ),
    (
        "error pulling image configuration: download failed after attempts=6: dial tcp 10.0.0.1:443:"
        " connect: connection refused"
    ),
    f'error pulling image configuration: Get "https://{HOST}/v2/": EOF',
    "unexpected EOF",
    "write tcp 10.0.0.2:50042->10.0.0.1:443: write: broken pipe",
    (
        f'failed to copy: httpReadSeeker: failed open: failed to do request: Get "https://{HOST}/v2/app/'
        f'blobs/{DIGEST}": dial tcp 10.0.0.1:443: i/o timeout'
    ),
]
SERVER = [
    (
        f'Head "https://{HOST}/v2/x/manifests/1": received unexpected HTTP status: 503 Service'
        " Unavailable"
    ),
    "received unexpected HTTP status: 500 Internal Server Error",
    f"login attempt to https://{HOST}/v2/ failed with status: 502 Bad Gateway",
    (
        f"failed to copy: httpReadSeeker: failed open: unexpected status code https://{HOST}/v2/app/"
        f"blobs/{DIGEST}: 503 Service Unavailable"
    ),
    (
        f'failed to resolve reference "{HOST}/app:1": unexpected status from HEAD request to https://'
        f"{HOST}/v2/app/manifests/1: 504 Gateway Timeout"
    ),
]
OTHER_TEXT = [
    "failed to register layer: Error processing tar file(exit status 1): operation not permitted",
    "something that nobody has seen before",
]

TABLE = [
    (texts, code, retry, refused)
    for texts, code, retry, refused in (
        (THROTTLED, ErrorCode.THROTTLING_ERROR, Retry.LIMITED, False),
        (DISK, ErrorCode.DISK_SPACE_CRITICAL, Retry.LIMITED, False),
        (PLATFORM, ErrorCode.IMAGE_PLATFORM_MISMATCH, Retry.NEVER, False),
        (NOT_AUTHORIZED, ErrorCode.DOCKER_PULL_ERROR, Retry.NEVER, False),
        (LOGIN, ErrorCode.DOCKER_LOGIN_ERROR, Retry.NEVER, True),
        (DIGESTS, ErrorCode.IMAGE_DIGEST_MISMATCH, Retry.LIMITED, False),
        (UNKNOWN_IMAGE, ErrorCode.DOCKER_IMAGE_NOT_VALID, Retry.NEVER, False),
        (CLOCK, ErrorCode.NETWORK_ERROR, Retry.UNTIL_MENDED, False),
        (TLS, ErrorCode.NETWORK_ERROR, Retry.LIMITED, False),
        (NETWORK, ErrorCode.NETWORK_ERROR, Retry.UNTIL_MENDED, False),
        (SERVER, ErrorCode.DOCKER_PULL_ERROR, Retry.LIMITED, False),
        (OTHER_TEXT, ErrorCode.DOCKER_PULL_ERROR, Retry.LIMITED, False),
        (
            ["invalid reference format: repository name must be lowercase"],
            ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID,
            Retry.NEVER,
            False,
        ),
        (
            [
                "mediaType in manifest should be 'application/x': unsupported media type",
                'initializing image from source docker://nginx:1: unsupported docker v2s2 media type: ""',
            ],
            ErrorCode.DOCKER_IMAGE_NOT_VALID,
            Retry.NEVER,
            False,
        ),
    )
]


@pytest.mark.parametrize(
    ("text", "code", "retry", "refused"),
    [(text, code, retry, refused) for texts, code, retry, refused in TABLE for text in texts],
)
def test_what_an_engine_says(text: str, code: ErrorCode, retry: Retry, refused: bool) -> None:
    error = from_engine_text(text)
    assert (error.code, error.retry, error.credentials_refused) == (code, retry, refused)
    assert error.hint


def test_white_space_of_the_text_is_folded() -> None:
    assert from_engine_text("unexpected\n  EOF\t").message == "unexpected EOF"


def test_the_engines_own_status_counts_where_the_text_says_nothing() -> None:
    limited = from_engine_text("slow down", http_status=429)
    assert (limited.code, limited.retry) == (ErrorCode.THROTTLING_ERROR, Retry.LIMITED)
    unknown = from_engine_text("no idea", http_status=404)
    assert (unknown.code, unknown.retry) == (ErrorCode.DOCKER_IMAGE_NOT_VALID, Retry.NEVER)
    broken = from_engine_text("no idea", http_status=500)
    assert (broken.code, broken.retry) == (ErrorCode.DOCKER_PULL_ERROR, Retry.LIMITED)


def test_the_text_tells_more_than_the_engines_status() -> None:
    error = from_engine_text("dial tcp 10.0.0.1:443: connect: connection refused", http_status=404)
    assert error.code is ErrorCode.NETWORK_ERROR


def test_an_empty_text_still_makes_a_message() -> None:
    error = from_engine_text(" \n", http_status=500)
    assert "HTTP 500" in error.message
    assert error.retry is Retry.LIMITED


def test_plain_http_is_told_apart_from_a_registry_that_is_away() -> None:
    fallen_back = from_engine_text("dial tcp 127.0.0.2:80: connect: connection refused")
    away = from_engine_text("dial tcp 127.0.0.2:443: connect: connection refused")
    assert "plain HTTP" in fallen_back.hint
    assert fallen_back.hint != away.hint


def test_the_wait_that_was_asked_for_comes_with_the_error() -> None:
    error = from_engine_text("toomanyrequests: retry-after: 1.5s, allowed: 44000/minute")
    assert error.retry_after_seconds == pytest.approx(1.5)
    assert from_engine_text("anything, Retry-After: 7").retry_after_seconds == pytest.approx(7)


@given(st.text(max_size=200), st.one_of(st.none(), st.integers(100, 599)))
def test_any_text_makes_an_error(text: str, status: int | None) -> None:
    error = from_engine_text(text, http_status=status)
    assert isinstance(error, DockermgrError)
    assert error.message
    assert error.hint


HARMLESS_NAMES = [
    "host.example/app/toomany:1",
    "host.example:5000/app:1",
    f"host.example/app@{DIGEST}",
    "host.example/app-4290:5001",
    "host.example/deniedby/app:1",
]


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_a_name_is_not_taken_for_a_reason(name: str) -> None:
    error = from_engine_text(
        f'failed to resolve reference "{name}": failed to do request: dial tcp 10.0.0.1:443: i/o timeout'
    )
    assert (error.code, error.retry) == (ErrorCode.NETWORK_ERROR, Retry.UNTIL_MENDED)


NAMES_LIKE_REASONS = [
    "host.example/app:401",
    "host.example/app:429",
    "host.example/app:eof",
    "host.example/app/denied",
    "host.example/app/denied:1",
    "host.example/throttler:1",
    "host.example/unauthorized/app:1",
    "denied.example/app:1",
    "host.example/eof/app:1",
    "host.example/toomanyrequests:1",
    "host.example:401/app:1",
    "host.example/x429/app-429:1",
]


@pytest.mark.parametrize("name", NAMES_LIKE_REASONS)
@pytest.mark.parametrize(
    ("sentence", "code", "retry"),
    [
        (
            'Head "https://{host}/v2/{repository}/manifests/{tag}": dial tcp 10.0.0.1:443: i/o timeout',
            ErrorCode.NETWORK_ERROR,
            Retry.UNTIL_MENDED,
        ),
        (
            (
                'failed to resolve reference "{name}": failed to do request: Head "https://{host}/v2/'
                '{repository}/manifests/{tag}": dial tcp: lookup {host} on 10.0.0.1:53: no such host'
            ),
            ErrorCode.NETWORK_ERROR,
            Retry.UNTIL_MENDED,
        ),
        (
            "manifest for {name} not found: manifest unknown: manifest unknown",
            ErrorCode.DOCKER_IMAGE_NOT_VALID,
            Retry.NEVER,
        ),
    ],
    ids=["timeout", "no-such-host", "unknown"],
)
def test_a_name_that_reads_like_a_reason_is_none(
    sentence: str, code: ErrorCode, retry: Retry, name: str
) -> None:
    host, _, path = name.partition("/")
    repository, _, tag = path.partition(":")
    text = sentence.format(name=name, host=host, repository=repository, tag=tag or "1")
    error = from_engine_text(text)
    assert (error.code, error.retry, error.credentials_refused) == (code, retry, False)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            'Get "https://h/v2/": dial tcp [2600:1f18:401:429::1]:443: i/o timeout',
            ErrorCode.NETWORK_ERROR,
        ),
        (
            "read tcp 10.0.0.2:401->10.0.0.1:443: read: connection reset by peer",
            ErrorCode.NETWORK_ERROR,
        ),
        (
            "manifest for nginx:401 not found: manifest unknown: manifest unknown",
            ErrorCode.DOCKER_IMAGE_NOT_VALID,
        ),
    ],
)
def test_numbers_of_addresses_ports_and_tags_are_no_status(text: str, code: ErrorCode) -> None:
    assert from_engine_text(text).code is code


@pytest.mark.parametrize("through", ["", "proxyconnect tcp: "])
def test_a_proxy_that_wants_a_login_is_not_the_registry(through: str) -> None:
    error = from_engine_text(f'Get "https://{HOST}/v2/": {through}Proxy Authentication Required')
    assert (error.code, error.credentials_refused) == (ErrorCode.NETWORK_ERROR, False)
    assert "login" in error.hint


@pytest.mark.parametrize("through", ["", "proxyconnect tcp: "])
@pytest.mark.parametrize("status", ["Forbidden", "Bad Gateway", "Gateway Timeout"])
def test_a_proxy_that_refuses_is_not_the_registry(through: str, status: str) -> None:
    error = from_engine_text(f'Get "https://{HOST}/v2/": {through}{status}')
    assert (error.code, error.retry) == (ErrorCode.NETWORK_ERROR, Retry.UNTIL_MENDED)
    assert "the engine's proxy does not connect it to the registry" in error.hint


def test_a_proxy_that_is_not_there_is_not_a_registry_whose_name_is_wrong() -> None:
    error = from_engine_text(
        f'Get "https://{HOST}/v2/": proxyconnect tcp: dial tcp: lookup proxy.example.com: no such host'
    )
    assert (error.code, error.retry) == (ErrorCode.NETWORK_ERROR, Retry.UNTIL_MENDED)
    assert "the engine gets no connection to its proxy" in error.hint


@pytest.mark.parametrize(
    "text",
    [
        f"login attempt to https://{HOST}/v2/ failed with status: 400 Bad Request",
        f"login attempt to https://{HOST}/v2/ failed with status: 403 Forbidden",
        f'Head "https://{HOST}/v2/a/manifests/1": denied: Not Authorized',
        "denied: The security token included in the request is expired",
    ],
)
def test_ecrs_ways_of_refusing_a_token(text: str) -> None:
    error = from_engine_text(text)
    assert (error.code, error.credentials_refused) == (ErrorCode.DOCKER_LOGIN_ERROR, True)


def test_the_signature_of_a_pre_signed_url_is_not_told() -> None:
    error = from_engine_text(
        "error pulling image configuration: download failed after attempts=6: Get"
        ' "https://prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com/ab/sha256:cd'
        '?X-Amz-Security-Token=IQoJb3JpZ2luX2VjEF&X-Amz-Signature=deadbeef": dial tcp'
        " 52.216.0.1:443: i/o timeout"
    )
    assert error.code is ErrorCode.NETWORK_ERROR
    assert "starport-layer-bucket" in error.message
    assert "IQoJb3JpZ2luX2VjEF" not in str(error)
    assert "deadbeef" not in str(error)


LIMITED = from_engine_text(
    f'failed to resolve reference "{HOST}/app:1": unexpected status from HEAD request to https://{HOST}'
    "/v2/app/manifests/1: 429 Too Many Requests"
)
FORBIDDEN = from_engine_text(
    f"unexpected status from HEAD request to https://{HOST}/v2/app/manifests/1: 403 Forbidden"
)


@pytest.mark.parametrize("text", [*THROTTLED, *SERVER, *PLATFORM])
def test_the_registry_is_asked_what_the_engine_leaves_out(text: str) -> None:
    assert from_engine_text(text).ask_registry is (retry_after_seconds(text) is None)


@pytest.mark.parametrize("text", [*DISK, *LOGIN, *NETWORK, *UNKNOWN_IMAGE, *OTHER_TEXT])
def test_the_registry_is_not_asked_what_it_cannot_know(text: str) -> None:
    assert not from_engine_text(text).ask_registry


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (LIMITED, "toomanyrequests: slow down", ErrorCode.THROTTLING_ERROR),
        (LIMITED, "something else: of no meaning", ErrorCode.THROTTLING_ERROR),
        (FORBIDDEN, "denied: requested access is denied", ErrorCode.DOCKER_IMAGE_NOT_VALID),
        (FORBIDDEN, NOT_AUTHORIZED[1], ErrorCode.DOCKER_PULL_ERROR),
        (FORBIDDEN, "something else: of no meaning", ErrorCode.DOCKER_LOGIN_ERROR),
    ],
)
def test_the_registrys_words_count_for_more(
    error: DockermgrError, words: str, code: ErrorCode
) -> None:
    told = in_the_registrys_words(error, words, None)
    assert told.code is code
    assert told.message == f"{error.message}; the registry says: {words}"


@pytest.mark.parametrize("words", ["denied: x", "unauthorized: x", "manifest unknown: x"])
def test_what_time_can_mend_is_not_given_up_for_a_word(words: str) -> None:
    told = in_the_registrys_words(LIMITED, words, 7)
    assert (told.code, told.retry) == (ErrorCode.THROTTLING_ERROR, Retry.LIMITED)
    assert (told.message, told.retry_after_seconds) == (LIMITED.message, 7)


def test_the_registrys_wait_is_kept() -> None:
    assert in_the_registrys_words(LIMITED, "", 7).retry_after_seconds == 7
    assert in_the_registrys_words(LIMITED, "x: retry-after: 5s", None).retry_after_seconds == 5
    assert in_the_registrys_words(LIMITED, "x: retry-after: 5s", 7).retry_after_seconds == 7
    assert in_the_registrys_words(LIMITED, "", None) is LIMITED


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('Get "https://ghcr.io/v2/": denied: denied', ErrorCode.DOCKER_LOGIN_ERROR),
        ("dial tcp 10.0.0.1:443: i/o timeout", ErrorCode.NETWORK_ERROR),
    ],
)
def test_denied_in_answer_to_a_login_is_about_no_image(text: str, code: ErrorCode) -> None:
    error = of_login(from_engine_text(text))
    assert (error.code, error.credentials_refused) == (
        code,
        code is ErrorCode.DOCKER_LOGIN_ERROR,
    )


@pytest.mark.parametrize("tag", ["401", "429", "denied", "throttled"])
def test_podmans_way_to_write_a_tag_is_no_reason(tag: str) -> None:
    error = from_engine_text(
        f"initializing source docker://app:{tag}: reading manifest {tag} in docker.io/library/app:"
        " manifest unknown: manifest unknown"
    )
    assert error.code is ErrorCode.DOCKER_IMAGE_NOT_VALID


@pytest.mark.parametrize("host", ["denied", "throttle", "unauthorized"])
def test_a_host_that_is_one_word_is_no_reason(host: str) -> None:
    error = from_engine_text(
        f'Get "https://{host}:5000/v2/": dial tcp: lookup {host} on 10.0.0.1:53: no such host'
    )
    assert (error.code, error.unresolved_name) == (ErrorCode.NETWORK_ERROR, True)
