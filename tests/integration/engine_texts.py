"""What each engine says of a fault, as regular expressions: `classify.py` reads such texts."""

from __future__ import annotations

import re

from tests.sandbox.device import ECR_HOST
from tests.sandbox.engines import Variant
from tests.sandbox.faults import answers
from tests.sandbox.faults.rules import Fault

MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
PING = f'Get "https://{ECR_HOST}/v2/": '

ON_REQUEST = {
    Variant.DOCKER: PING,
    Variant.DOCKER26: (
        r'failed to resolve reference "\S+": failed to do request: Head "https://\S+/manifests/1": '
    ),
    Variant.PODMAN: rf"initializing source \S+: pinging container registry \S+: {PING}",
}
"""Before the network's own words, when a pull's first request fails."""
ON_LOGIN = {
    Variant.DOCKER: PING,
    Variant.DOCKER26: PING,
    Variant.PODMAN: rf"login attempt to \S+ failed with status: pinging container registry \S+: {PING}",
}
"""The same for a login."""
ON_CERTIFICATE = {
    Variant.DOCKER: "x509: ",
    Variant.DOCKER26: "tls: failed to verify certificate: x509: ",
    Variant.PODMAN: "x509: ",
}
NO_LOGIN = {
    Variant.DOCKER: "no basic auth credentials",
    Variant.DOCKER26: "no basic auth credentials",
    Variant.PODMAN: "unauthorized: authentication required",
}
NO_MANIFEST = {
    Variant.DOCKER: "manifest unknown",
    Variant.DOCKER26: "not found",
    Variant.PODMAN: "manifest unknown",
}
OTHER_MANIFEST = {
    Variant.DOCKER: r"manifest verification failed for digest sha256:\w+",
    Variant.DOCKER26: r"failed commit on ref .+ failed size validation: \d+ != \d+: failed precondition",
    Variant.PODMAN: (
        r"determining manifest MIME type for \S+: Manifest does not match provided manifest digest"
        r" sha256:\w+"
    ),
}
DISK_FULL = {
    Variant.DOCKER: (
        r"failed to register layer: Error processing tar file\(exit status 1\): "
        r"write /data-app-\d+: no space left on device"
    ),
    Variant.DOCKER26: (
        r"failed to extract layer sha256:\w+: mount callback failed on \S+: write \S+/data-app-\d+: "
        "no space left on device: unknown"
    ),
    Variant.PODMAN: (
        r'writing blob: adding layer with blob "sha256:\w+": processing tar file\('
        r"write /data-app-\d+: no space left on device\): exit status 1"
    ),
}
"""The disk is full while a layer is extracted."""

MANIFEST, LAYER, CONFIG = "manifests/", "blobs/(?!{config})", "blobs/{config}"
FAULTS: dict[str, tuple[str, Fault]] = {
    "manifest-500": (MANIFEST, Fault(answer=answers.server_error(500))),
    "manifest-limit": (MANIFEST, Fault(answer=answers.too_many_requests(answers.GITHUB_LIMIT))),
    "manifest-login": (MANIFEST, Fault(answer=answers.unauthorized(ECR_HOST))),
    "manifest-denied": (MANIFEST, Fault(answer=answers.denied_by_iam("app"))),
    "manifest-expired": (MANIFEST, Fault(answer=answers.token_expired())),
    "get-expired": (MANIFEST, Fault(answer=answers.token_expired(), method="GET")),
    "manifest-portal": (MANIFEST, Fault(answer=answers.captive_portal())),
    "manifest-replaced": (
        MANIFEST,
        Fault(answer=answers.manifest(b"{}", MEDIA_TYPE), method="GET"),
    ),
    "manifest-dropped": (MANIFEST, Fault(drop=True)),
    "layer-503": (LAYER, Fault(answer=answers.server_error(503, retry_after="9"))),
    "layer-limit": (LAYER, Fault(answer=answers.too_many_requests())),
    "layer-expired": (LAYER, Fault(answer=answers.token_expired())),
    "layer-corrupt": (LAYER, Fault(corrupt=True)),
    "layer-truncated": (LAYER, Fault(truncate_after_bytes=0)),
    "layer-dropped": (LAYER, Fault(drop=True)),
    "layer-s3-expired": (LAYER, Fault(answer=answers.s3_request_expired())),
    "config-503": (CONFIG, Fault(answer=answers.s3_slow_down())),
    "config-expired": (CONFIG, Fault(answer=answers.token_expired())),
    "config-corrupt": (CONFIG, Fault(corrupt=True)),
}
"""Which answer of the registry is another one, and how: each for an image of that name."""

_EXPIRED = "Your authorization token has expired. Reauthenticate and try again."
_DENIED = r"denied: User: \S+ is not authorized to perform: ecr:BatchGetImage on resource: .+"

# Docker 20.10
_UNKNOWN = r"pull access denied for \S+, repository does not exist or may require 'docker login': "
_OF_CONFIG = "error pulling image configuration: "
_503 = "received unexpected HTTP status: 503 Service Unavailable"

# Docker 26.1: it asks with HEAD, whose answers have no words.
_HEAD = r'failed to resolve reference "\S+": unexpected status from HEAD request to \S+: '
_COPY = "failed to copy: httpReadSeeker: failed open: "
_STATUS = rf"{_COPY}unexpected status code \S+: "
_COMMIT = (
    r'failed commit on ref "{}-sha256:\w+": commit failed: unexpected commit digest sha256:\w+, '
    r"expected sha256:\w+: failed precondition"
)

# Podman 4.3
_SOURCE = r"initializing source \S+: "
_READING = rf"{_SOURCE}reading manifest 1 in \S+: "
_PARSING = r"initializing image from source \S+: "
_BLOB, _STORING = (
    r"reading blob sha256:\w+: ",
    r"writing blob: storing blob to file \S+: happened during read: ",
)
_BLOB_CODE = "Error fetching blob: invalid status code from registry "
_PODMAN_CONFIG = "parsing image configuration: "

SAID: dict[Variant, dict[str, str]] = {
    Variant.DOCKER: {
        "manifest-500": "received unexpected HTTP status: 500 Internal Server Error",
        "manifest-limit": "toomanyrequests: retry-after: 718µs, allowed: 44000/minute",
        "manifest-login": "unauthorized: authentication required",
        "manifest-denied": _UNKNOWN + _DENIED,
        "manifest-expired": f"{_UNKNOWN}denied: {_EXPIRED}",
        "get-expired": f"error after falling back to get manifest by tag: denied: {_EXPIRED}",
        "manifest-portal": (
            "error unmarshalling content: invalid character '<' looking for beginning of value"
        ),
        "manifest-replaced": re.escape(f"mediaType in manifest should be '{MEDIA_TYPE}' not ''"),
        "manifest-dropped": r'Head "\S+/manifests/1": EOF',
        "layer-503": _503,
        "layer-limit": f"toomanyrequests: {answers.HUB_LIMIT}",
        "layer-expired": f"{_UNKNOWN}denied: {_EXPIRED}",
        "layer-corrupt": r"filesystem layer verification failed for digest sha256:\w+",
        "layer-truncated": "unexpected EOF",
        "layer-dropped": "EOF",
        "layer-s3-expired": (
            "error parsing HTTP 403 response body: invalid character '<' .+Request has expired.+"
        ),
        "config-503": f"{_OF_CONFIG}download failed after attempts=6: {_503}",
        "config-expired": f"{_OF_CONFIG}download failed after attempts=1: denied: {_EXPIRED}",
        "config-corrupt": rf"{_OF_CONFIG}image config verification failed for digest sha256:\w+",
    },
    Variant.DOCKER26: {
        "manifest-500": f"{_HEAD}500 Internal Server Error",
        "manifest-limit": f"{_HEAD}429 Too Many Requests",
        "manifest-login": f"{_HEAD}401 Unauthorized",
        "manifest-denied": f"{_HEAD}403 Forbidden",
        "manifest-expired": f"{_HEAD}403 Forbidden",
        "get-expired": f"{_STATUS}403 Forbidden - Server message: denied: {_EXPIRED}",
        "manifest-portal": (
            rf"{_COPY}could not fetch content descriptor sha256:\w+ \(text/html\) from remote: not found"
        ),
        "manifest-replaced": "failed to read expected number of bytes: unexpected EOF",
        "manifest-dropped": rf"{ON_REQUEST[Variant.DOCKER26]}EOF",
        "layer-503": f"{_STATUS}503 Service Unavailable",
        "layer-limit": (
            f"{_STATUS}429 Too Many Requests - Server message: toomanyrequests: {answers.HUB_LIMIT}"
        ),
        "layer-expired": f"{_STATUS}403 Forbidden - Server message: denied: {_EXPIRED}",
        "layer-corrupt": _COMMIT.format("layer"),
        "layer-truncated": ".*unexpected EOF",
        "layer-dropped": rf'{_COPY}failed to do request: Get "\S+": EOF',
        "layer-s3-expired": f"{_STATUS}403 Forbidden",
        "config-503": f"{_STATUS}503 Service Unavailable",
        "config-expired": f"{_STATUS}403 Forbidden - Server message: denied: {_EXPIRED}",
        "config-corrupt": _COMMIT.format("config"),
    },
    # A manifest that is limited for ever is missing: it says so after minutes.
    Variant.PODMAN: {
        "manifest-500": f"{_READING}received unexpected HTTP status: 500 Internal Server Error",
        "manifest-login": f"{_READING}unauthorized: authentication required",
        "manifest-denied": _READING + _DENIED,
        "manifest-expired": f"{_READING}denied: {_EXPIRED}",
        "get-expired": f"{_READING}denied: {_EXPIRED}",
        "manifest-portal": f"{_PARSING}invalid character '<' looking for beginning of value",
        "manifest-replaced": f'{_PARSING}unsupported docker v2s2 media type: ""',
        "manifest-dropped": rf'{_SOURCE}Get "\S+/manifests/1": EOF',
        "layer-503": rf"{_BLOB}{_BLOB_CODE}503 \(Service Unavailable\)",
        "layer-limit": f"{_BLOB}too many requests to registry",
        "layer-expired": rf"{_BLOB}{_BLOB_CODE}403 \(Forbidden\)",
        "layer-corrupt": rf"{_STORING}Digest did not match, expected sha256:\w+, got sha256:\w+",
        "layer-truncated": (
            "writing blob: setting up to decompress blob: happened during read: unexpected EOF"
        ),
        "layer-dropped": rf'{_BLOB}Get "\S+": EOF',
        "layer-s3-expired": rf"{_BLOB}{_BLOB_CODE}403 \(Forbidden\)",
        "config-503": rf"{_PODMAN_CONFIG}{_BLOB_CODE}503 \(Service Unavailable\)",
        "config-expired": rf"{_PODMAN_CONFIG}{_BLOB_CODE}403 \(Forbidden\)",
        "config-corrupt": (
            rf"{_PODMAN_CONFIG}Download config.json digest sha256:\w+"
            r" does not match expected sha256:\w+"
        ),
    },
}
"""What an engine says of each fault that does not end."""
