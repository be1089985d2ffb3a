"""What registries and those before them answer when they do not answer as they should.

In the words of ECR, Docker Hub, GitHub's registry, S3 and load balancers, since the engine hands
them on as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.sandbox.aws import ACCOUNT, REGION

IAM_USER = f"arn:aws:sts::{ACCOUNT}:assumed-role/GreengrassV2TokenExchangeRole/sandbox-device"
HUB_LIMIT = (
    "You have reached your pull rate limit. You may increase the limit by authenticating and "
    "upgrading: https://www.docker.com/increase-rate-limit"
)
GITHUB_LIMIT = "retry-after: 718µs, allowed: 44000/minute"
"""The only registry seen to say in the text when to come again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """In place of the registry's. To HEAD it goes without its body."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def registry_error(status: int, code: str, message: str, **headers: str) -> Answer:
    """In the form of the distribution API; a header's name is written with `_` for `-`."""
    body = {"errors": [{"code": code, "message": message}]}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json", **named})


def server_error(status: int = 503, *, retry_after: str = "") -> Answer:
    """As of a load balancer: HTML, and seldom the time to come again."""
    page = b"<html><head><title>Error</title></head><body>try again later</body></html>"
    headers = {"Content-Type": "text/html"}
    return Answer(status, page, headers | ({"Retry-After": retry_after} if retry_after else {}))


def too_many_requests(message: str = HUB_LIMIT, *, retry_after: str = "") -> Answer:
    """429, by default as Docker Hub says it; see `GITHUB_LIMIT`."""
    headers = {"Retry_After": retry_after} if retry_after else {}
    return registry_error(429, "TOOMANYREQUESTS", message, **headers)


def unauthorized(host: str) -> Answer:
    """ECR's 401 for a missing or wrong password."""
    asks = f'Basic realm="https://{host}/",service="ecr.amazonaws.com"'
    return Answer(
        401,
        b"Not Authorized\n",
        {"Content-Type": "text/plain; charset=utf-8", "WWW-Authenticate": asks},
    )


def denied_by_iam(repository: str, action: str = "BatchGetImage") -> Answer:
    """ECR's 403 for a role without the permission."""
    resource = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{repository}"
    return registry_error(
        403,
        "DENIED",
        f"User: {IAM_USER} is not authorized to perform: ecr:{action} on resource: {resource} "
        f"because no identity-based policy allows the ecr:{action} action",
    )


def token_expired() -> Answer:
    """ECR's 403 for a token that is more than 12 hours old."""
    return registry_error(
        403, "DENIED", "Your authorization token has expired. Reauthenticate and try again."
    )


def captive_portal() -> Answer:
    """200 and a page, to whatever was asked for: as of proxies that know TLS and no shame."""
    return Answer(200, b"<html><body>Please log in</body></html>", {"Content-Type": "text/html"})


def manifest(content: bytes, media_type: str, **headers: str) -> Answer:
    """Another manifest than the registry's; add `Docker_Content_Digest` to lie about that, too."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(200, content, {"Content-Type": media_type, **named})


def s3_error(status: int, code: str, message: str) -> Answer:
    """As S3 says it of a layer."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
    body = f"{text}<Message>{message}</Message></Error>".encode()
    return Answer(status, body, {"Content-Type": "application/xml"})


def s3_slow_down() -> Answer:
    """S3's 503 for too many requests."""
    return s3_error(503, "SlowDown", "Please reduce your request rate.")


def s3_request_expired() -> Answer:
    """S3's 403 for a presigned address that is too old, or a clock that is wrong."""
    return s3_error(403, "AccessDenied", "Request has expired")
