"""Objects in Amazon S3, read in pieces: any part of one, or all of it with downloads that resume."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from dockermgr.aws import aws_client, device_keys, unreachable
from dockermgr.compression import CHUNK_BYTES
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.stored import Changed

T = TypeVar("T")

SCHEME = "s3://"
WINDOW_BYTES = 64 * 1024
"""What one question fetches where only headers are looked at: those of small members come together."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_MAX_KEY_BYTES = 1024
_REFUSED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "InvalidObjectState"}
_MISSING = {"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "InvalidBucketName", "404"}
_THROTTLED = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "429"}


@dataclass(frozen=True, slots=True)
class S3Address:
    """Where an object is."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


def parse_s3(uri: str) -> S3Address:
    """Reads `s3://bucket/key`. Raises ValueError, whose message says what is wrong."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"{uri!r}: {bucket!r} is no name of a bucket; write s3://bucket/key")
    if not key or key.endswith("/") or len(key.encode("utf-8", "replace")) > _MAX_KEY_BYTES:
        raise ValueError(f"{uri!r} names no object; write s3://bucket/key")
    return S3Address(bucket, key)


class Retrying(Protocol):
    """Calls what it is given until that succeeds, or fails for good."""

    def __call__(self, work: Callable[[], T], /) -> T: ...


class S3Object:
    """One object as it was at the first question: a later one is noticed.

    Methods raise `Changed`, S3_ACCESS_DENIED,
    S3_RESOURCE_NOT_FOUND, THROTTLING_ERROR, NETWORK_ERROR or a CREDENTIAL_ENDPOINT code.
    """

    def __init__(self, address: S3Address, retrying: Retrying) -> None:
        self._address = address
        self._retrying = retrying
        self._client: Any = None
        self._etag = ""
        self._window_at, self._window = 0, b""
        self.size_bytes = 0
        retrying(self._look)

    @property
    def identity(self) -> str:
        """Another one for another content."""
        return f"{self._address} {self._etag}"

    def close(self) -> None:
        """Gives the connections back to the system."""
        if self._client is not None:
            self._client.close()

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes from anywhere; fewer than `length` only at the end."""
        end = min(offset + length, self.size_bytes)
        if offset >= end:
            return b""
        if offset < self._window_at or end > self._window_at + len(self._window):
            wanted = max(end - offset, WINDOW_BYTES)
            self._window = self._retrying(lambda: self._piece(offset, wanted))
            self._window_at = offset
        begin = offset - self._window_at
        return self._window[begin : begin + length]

    def chunks(self) -> Iterator[bytes]:
        """All of it. A download that breaks off goes on where it was."""
        at = 0
        while at < self.size_bytes:
            body, chunk = self._retrying(lambda: self._begin(at))  # noqa: B023  # called at once
            with contextlib.closing(body):
                while chunk:
                    at += len(chunk)
                    yield chunk
                    try:
                        chunk = body.read(CHUNK_BYTES)
                    except _broken():
                        break

    def _look(self) -> None:
        answer = self._get(0, WINDOW_BYTES)
        self._window = self._read(answer["Body"], WINDOW_BYTES)
        self._etag = answer["ETag"]
        self.size_bytes = int(answer["ContentRange"].rpartition("/")[2])

    def _piece(self, offset: int, length: int) -> bytes:
        return self._read(self._get(offset, length)["Body"], length)

    def _begin(self, offset: int) -> tuple[Any, bytes]:
        body = self._get(offset)["Body"]
        return body, self._read(body, CHUNK_BYTES)

    def _read(self, body: Any, length: int) -> bytes:
        try:
            found: bytes = body.read(length)
        except _broken() as error:
            raise self._unreachable(error) from error
        if not found:
            raise self._unreachable(EOFError("it sent nothing"))
        return found

    def _get(self, offset: int, length: int | None = None) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        last = "" if length is None else offset + length - 1
        condition = {"IfMatch": self._etag} if self._etag else {}
        try:
            if self._client is None:
                # Checksums of parts are S3's own affair, and would load awscrt.
                self._client = aws_client(
                    "s3", None, device_keys(), response_checksum_validation="when_required"
                )
            return self._client.get_object(
                Bucket=self._address.bucket,
                Key=self._address.key,
                Range=f"bytes={offset}-{last}",
                **condition,
            )
        except ClientError as error:
            # The next attempt asks for credentials anew: those of a long download may have expired.
            self.close()
            self._client = None
            raise self._refused(error) from error
        except BotoCoreError as error:
            raise self._not_asked(error) from error

    def _refused(self, error: Any) -> Exception:
        details = error.response.get("Error", {})
        code, text = str(details.get("Code", "")), str(details.get("Message", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        message = f"s3:GetObject of {self._address} failed: {code}: {text}"
        if code == "PreconditionFailed" or status == 412:
            return Changed(f"{self._address} was replaced while it was being read")
        if code == "InvalidRange":
            return DockermgrError(
                ErrorCode.DOCKER_IMAGE_NOT_VALID,
                f"{self._address} is empty",
                hint="upload it again",
            )
        if code in _MISSING:
            return DockermgrError(
                ErrorCode.S3_RESOURCE_NOT_FOUND, message, hint="check the bucket and the key"
            )
        if code in _REFUSED:
            return DockermgrError(
                ErrorCode.S3_ACCESS_DENIED,
                message,
                hint=f"allow s3:GetObject on arn:aws:s3:::{self._address.bucket}/{self._address.key} in"
                f" the policy of {_role()}, and check the key: without s3:ListBucket, S3 says this of"
                " objects that are not there, too",
            )
        if code in _THROTTLED or status in {429, 503}:
            return DockermgrError(
                ErrorCode.THROTTLING_ERROR, message, hint="S3 limits the rate", retry=Retry.LIMITED
            )
        return DockermgrError(
            ErrorCode.NETWORK_ERROR if status >= 500 else ErrorCode.S3_ACCESS_DENIED,
            message,
            hint="S3 has trouble of its own"
            if status >= 500
            else "check the device's clock, Region and credentials",
            retry=Retry.LIMITED,
        )

    def _not_asked(self, error: Exception) -> DockermgrError:
        from botocore.exceptions import NoCredentialsError, PartialCredentialsError

        if isinstance(error, _broken()):
            return self._unreachable(error)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            hint = (
                "run inside Greengrass with a dependency on aws.greengrass.TokenExchangeService,"
                " or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        else:
            hint = "see the message"
        return DockermgrError(
            ErrorCode.S3_ACCESS_DENIED, f"{self._address} cannot be asked for: {error}", hint=hint
        )

    def _unreachable(self, reason: Exception) -> DockermgrError:
        return unreachable(
            f"the download of {self._address} broke off or could not begin",
            reason,
            "check this device's network and proxy; offline sites need a VPC endpoint for s3",
        )


def _broken() -> tuple[type[Exception], ...]:
    """What botocore raises when the connection is the trouble."""
    from botocore.exceptions import ConnectionError as NotConnectedError
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    return (HTTPClientError, NotConnectedError, IncompleteReadError, OSError)


def _role() -> str:
    """Who was refused; AWS tells everybody who he is."""
    from botocore.exceptions import BotoCoreError, ClientError

    with contextlib.suppress(BotoCoreError, ClientError, DockermgrError, LookupError):
        arn = aws_client("sts", None, device_keys()).get_caller_identity()["Arn"]
        # arn:aws:sts::123456789012:assumed-role/<role>/<session>
        kind, _, name = arn.rpartition(":")[2].partition("/")
        return f"role {name.partition('/')[0]}" if kind == "assumed-role" else str(arn)
    return "the device's token exchange role"
