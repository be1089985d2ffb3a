"""The token exchange service: the device's AWS credentials, from the nucleus's local endpoint.

botocore's own container provider gives up after 2 s, while the Java nucleus lets a caller wait up to
30 s behind another fetch, and it cannot tell a nucleus that has no credentials (Lite answers 200 and
`null`) from a broken one. So the request is made here, and boto3 gets the keys.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from dockermgr.errors import DockermgrError, ErrorCode, Retry

TIMEOUT_SECONDS = 35.0
"""The Java nucleus answers 504 after 30 s."""

_DEPENDENCY_HINT = (
    "list aws.greengrass.TokenExchangeService under ComponentDependencies, and deploy it"
)


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """Temporary keys of the device's role."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)


def endpoint_of(environment: Mapping[str, str] = os.environ) -> str | None:
    """The URI that the nucleus gave this component, None outside Greengrass.

    Raises CREDENTIAL_ENDPOINT_AUTH_FAILURE inside Greengrass when there is none.
    """
    uri = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not uri and environment.get("SVCUID"):
        raise DockermgrError(
            ErrorCode.CREDENTIAL_ENDPOINT_AUTH_FAILURE,
            "the nucleus gave this component no credential endpoint"
            " (AWS_CONTAINER_CREDENTIALS_FULL_URI is not set)",
            hint=_DEPENDENCY_HINT,
        )
    return uri or None


def are_likely(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process was given AWS credentials, by a nucleus or by hand; asks nobody."""
    names = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ACCESS_KEY_ID", "AWS_PROFILE")
    return any(environment.get(name) for name in names)


def fetch_credentials(
    uri: str, token: str, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> AwsCredentials:
    """Asks the service at `uri` once.

    Raises CREDENTIAL_ENDPOINT_AUTH_FAILURE when it does not know us, CREDENTIAL_ENDPOINT_SERVER_ERROR
    when it is away or has none to give: a nucleus starts it in its own time, so those are retried.
    """
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme != "http" or not parts.hostname:
        raise DockermgrError(
            ErrorCode.CREDENTIAL_ENDPOINT_SERVER_ERROR,
            f"the credential endpoint {uri!r} is not an http URI",
            hint=_DEPENDENCY_HINT,
        )
    connection = http.client.HTTPConnection(
        parts.hostname, parts.port or 80, timeout=timeout_seconds
    )
    try:
        connection.request("GET", parts.path or "/", headers={"Authorization": token})
        response = connection.getresponse()
        status, body = response.status, response.read(100_000)
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise _away(f"the token exchange service did not answer: {reason}") from error
    finally:
        connection.close()
    if status in {400, 401, 403, 404}:
        raise DockermgrError(
            ErrorCode.CREDENTIAL_ENDPOINT_AUTH_FAILURE,
            f"the token exchange service refused this component (HTTP {status}): {_excerpt(body)}",
            hint="check the device's role alias, the role's trust policy and the device's IoT policy"
            " (iot:AssumeRoleWithCertificate); " + _DEPENDENCY_HINT,
            # The Java nucleus hands the cloud's own 4xx on, and forgets it after two minutes.
            retry=Retry.LIMITED,
        )
    if status != http.HTTPStatus.OK:
        raise _away(f"the token exchange service answered HTTP {status}: {_excerpt(body)}")
    return _credentials_from(body)


def _credentials_from(body: bytes) -> AwsCredentials:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise _away("the token exchange service answered something that is not JSON") from error
    if answer is None:
        raise _away("the nucleus could not get credentials from the cloud (it answered null)")
    keys = [answer.get(name) if isinstance(answer, dict) else None for name in _KEYS]
    if not all(isinstance(key, str) and key for key in keys):
        raise _away(f"the token exchange service's answer lacks {', '.join(_KEYS)}")
    return AwsCredentials(*map(str, keys))


_KEYS = ("AccessKeyId", "SecretAccessKey", "Token")


def _away(message: str) -> DockermgrError:
    return DockermgrError(
        ErrorCode.CREDENTIAL_ENDPOINT_SERVER_ERROR,
        message,
        hint="the nucleus gets them from AWS IoT: check the device's network, clock and role alias",
        retry=Retry.UNTIL_MENDED,
    )


def _excerpt(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[:200] or "no text"
