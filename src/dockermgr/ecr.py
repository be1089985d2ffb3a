"""ECR authorization tokens, fetched by a short-lived child process.

boto3 and a client of it take some 26 MB, for a token fetched twice a day: `python -m dockermgr.ecr`
fetches it and is gone. The child prints one JSON object, a token or an error, on its standard output.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import socket
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dockermgr.aws import CONNECT_TIMEOUT_SECONDS, aws_client, device_keys, unreachable
from dockermgr.errors import DockermgrError, ErrorCode, Retry

if TYPE_CHECKING:
    from collections.abc import Sequence

PARENT_VARIABLE = "DOCKERMGR_PARENT"
"""The process id of who started the child."""
PARENT_LOOK_SECONDS = 1.0

_THROTTLING = frozenset({"ThrottlingException", "Throttling", "TooManyRequestsException",
                         "RequestLimitExceeded", "LimitExceededException"})  # fmt: skip
_EXPIRED = frozenset({"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException",
                      "InvalidClientTokenId", "RequestExpired"})  # fmt: skip
_NETWORK_HINT = (
    "check this device's network and proxy; offline sites need a VPC endpoint for ecr.api"
)
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})


@dataclass(frozen=True, slots=True)
class EcrToken:
    """User name and password for every registry that the role may read in a Region.

    `expires_at` in epoch seconds.
    """

    username: str
    password: str = field(repr=False)
    expires_at: float


class EndpointAwayError(DockermgrError):
    """There was no connection at all to `endpoint`, a URL."""

    def __init__(self, message: str, *, hint: str, endpoint: str) -> None:
        super().__init__(ErrorCode.NETWORK_ERROR, message, hint=hint, retry=Retry.UNTIL_MENDED)
        self.endpoint = endpoint


PUBLIC = "public"
"""Stands where a Region would: ECR Public's token API exists in us-east-1 only."""
_PUBLIC_REGION = "us-east-1"


def fetch_token(region: str, *, fips: bool = False, away: str = "") -> EcrToken:
    """One call of GetAuthorizationToken with the device's credentials; `region` may be `PUBLIC`.

    `away` is the endpoint that could not be reached the last time, if so.
    Raises GET_ECR_CREDENTIAL_ERROR, THROTTLING_ERROR, NETWORK_ERROR or a CREDENTIAL_ENDPOINT code.
    """
    # What can be known without boto3 comes first: to start that costs more than all of the rest.
    keys = device_keys()
    if away:
        _check_reachable(away, region)
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = _client(region, keys, fips=fips).get_authorization_token()
    except ClientError as error:
        raise _from_client_error(error, region) from error
    except BotoCoreError as error:
        raise _from_botocore_error(error, region) from error
    return _token_from(answer)


def _check_reachable(endpoint: str, region: str) -> None:
    if any(value for name, value in os.environ.items() if name.lower() == "https_proxy"):
        return  # the way there is not the direct one
    parts = urllib.parse.urlsplit(endpoint)
    address = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection(address, CONNECT_TIMEOUT_SECONDS).close()
    except OSError as error:
        raise _away(endpoint, region) from error


def _away(endpoint: str, region: str) -> EndpointAwayError:
    return EndpointAwayError(
        f"ECR in {region} cannot be reached: no connection to {endpoint}",
        hint=_NETWORK_HINT,
        endpoint=endpoint,
    )


def _client(region: str, keys: dict[str, str], *, fips: bool) -> Any:
    public = region == PUBLIC
    return aws_client(
        "ecr-public" if public else "ecr",
        _PUBLIC_REGION if public else region,
        keys,
        use_fips_endpoint=fips or None,
    )


def _token_from(answer: Any) -> EcrToken:
    try:
        data = answer["authorizationData"]
        data = data[0] if isinstance(data, list) else data  # ECR Public gives the one alone
        username, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        expires_at = data["expiresAt"].timestamp()
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, binascii.Error) as error:
        raise DockermgrError(
            ErrorCode.GET_ECR_CREDENTIAL_ERROR,
            "ECR's answer holds no authorization token",
            hint="check that no proxy answers in ECR's place",
            retry=Retry.LIMITED,
        ) from error
    return EcrToken(username, password, expires_at)


def _from_client_error(error: Any, region: str) -> DockermgrError:
    details = error.response.get("Error", {})
    code, text = str(details.get("Code", "")), str(details.get("Message", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"ecr:GetAuthorizationToken in {region} failed: {code}: {text}"
    if code in _THROTTLING or status == 429:
        return DockermgrError(
            ErrorCode.THROTTLING_ERROR, message, hint="AWS limits the rate", retry=Retry.LIMITED
        )
    if code in _DENIED:
        return DockermgrError(
            ErrorCode.GET_ECR_CREDENTIAL_ERROR,
            message,
            hint="allow ecr:GetAuthorizationToken (on resource *), ecr:BatchGetImage and"
            " ecr:GetDownloadUrlForLayer in the policy of the device's token exchange role",
        )
    hint = "see the message"
    if code in _EXPIRED:
        hint = "the credentials or this device's clock are out of date"
    elif status >= 500:
        hint = "ECR has trouble of its own"
    return DockermgrError(
        ErrorCode.GET_ECR_CREDENTIAL_ERROR, message, hint=hint, retry=Retry.LIMITED
    )


def _from_botocore_error(error: Exception, region: str) -> DockermgrError:
    from botocore.exceptions import ConnectionError as UnreachableError  # not HTTPClientError's kin
    from botocore.exceptions import (
        EndpointConnectionError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    if isinstance(error, EndpointConnectionError):
        return _away(error.kwargs["endpoint_url"], region)
    if isinstance(error, HTTPClientError | UnreachableError):
        return unreachable(f"ECR in {region} cannot be reached", error, _NETWORK_HINT)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return DockermgrError(
            ErrorCode.GET_ECR_CREDENTIAL_ERROR,
            "there are no AWS credentials: AWS_CONTAINER_CREDENTIALS_FULL_URI is not set",
            hint="run inside Greengrass with a dependency on aws.greengrass.TokenExchangeService,"
            " or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    return DockermgrError(
        ErrorCode.GET_ECR_CREDENTIAL_ERROR,
        f"asking ECR in {region} for a token failed: {error}",
        hint="see the message",
        retry=Retry.LIMITED,
    )


def main(arguments: Sequence[str]) -> int:
    """The child: `<region> [--fips] [<endpoint that was away>]` → one JSON object on standard output;
    always exit 0 when it said why.
    """
    if parent := os.environ.get(PARENT_VARIABLE):
        threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    region, *options = arguments
    away = next((option for option in options if option != "--fips"), "")
    try:
        token = fetch_token(region, fips="--fips" in options, away=away)
        answer: dict[str, object] = {
            "username": token.username,
            "password": token.password,
            "expiresAt": token.expires_at,
        }
    except DockermgrError as error:
        answer = {
            "error": {
                "code": error.code.value,
                "message": error.message,
                "hint": error.hint,
                "retry": error.retry.value,
                "away": error.endpoint if isinstance(error, EndpointAwayError) else "",
            }
        }
    sys.stdout.write(json.dumps(answer))
    return 0


def _end_with(parent: int) -> None:
    """A parent that was killed cannot end us, and the nucleus may keep us waiting for a minute."""
    while os.getppid() == parent:
        time.sleep(PARENT_LOOK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
