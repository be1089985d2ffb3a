"""The errors of dockermgr: a code for programs, a sentence and a mend for people, and when to try again."""

from __future__ import annotations

from enum import Enum, IntEnum


class ErrorCode(str, Enum):
    """What went wrong, for programs.

    The nucleus's own deployment error codes where it has one (AWS IoT Greengrass developer guide,
    "Detailed deployment error codes"); the last four are ours because it has none.
    """

    DOCKER_ARTIFACT_URI_NOT_VALID = "DOCKER_ARTIFACT_URI_NOT_VALID"
    GET_ECR_CREDENTIAL_ERROR = "GET_ECR_CREDENTIAL_ERROR"
    USER_NOT_AUTHORIZED_FOR_DOCKER = "USER_NOT_AUTHORIZED_FOR_DOCKER"
    DOCKER_SERVICE_UNAVAILABLE = "DOCKER_SERVICE_UNAVAILABLE"
    DOCKER_LOGIN_ERROR = "DOCKER_LOGIN_ERROR"
    DOCKER_PULL_ERROR = "DOCKER_PULL_ERROR"
    DOCKER_IMAGE_NOT_VALID = "DOCKER_IMAGE_NOT_VALID"
    DOCKER_IMAGE_QUERY_ERROR = "DOCKER_IMAGE_QUERY_ERROR"
    NETWORK_ERROR = "NETWORK_ERROR"
    THROTTLING_ERROR = "THROTTLING_ERROR"
    DISK_SPACE_CRITICAL = "DISK_SPACE_CRITICAL"
    CREDENTIAL_ENDPOINT_AUTH_FAILURE = "CREDENTIAL_ENDPOINT_AUTH_FAILURE"
    CREDENTIAL_ENDPOINT_SERVER_ERROR = "CREDENTIAL_ENDPOINT_SERVER_ERROR"
    S3_ACCESS_DENIED = "S3_ACCESS_DENIED"
    S3_RESOURCE_NOT_FOUND = "S3_RESOURCE_NOT_FOUND"
    ARTIFACT_CHECKSUM_MISMATCH = "ARTIFACT_CHECKSUM_MISMATCH"
    COMPONENT_CONFIGURATION_NOT_VALID = "COMPONENT_CONFIGURATION_NOT_VALID"
    IMAGE_PLATFORM_MISMATCH = "IMAGE_PLATFORM_MISMATCH"
    IMAGE_DIGEST_MISMATCH = "IMAGE_DIGEST_MISMATCH"
    PULL_STALLED = "PULL_STALLED"
    REGISTRY_NOT_ALLOWED = "REGISTRY_NOT_ALLOWED"


class Retry(str, Enum):
    """How long a failure is worth trying again."""

    NEVER = "never"
    """Only somebody's change mends it: a wrong name, a missing permission."""
    LIMITED = "limited"
    """Time may mend it: at most `retry.maxAttempts` attempts."""
    UNTIL_MENDED = "until-mended"
    """Time will mend it: the network or the engine is away. Tried until it is back."""


class ExitCode(IntEnum):
    """How the command line ends, beside 130 and 143 for SIGINT and SIGTERM."""

    DONE = 0
    USAGE = 2
    FAILED = 3
    TIMED_OUT = 4
    ENGINE = 5


ENGINE_CODES = frozenset(
    {ErrorCode.DOCKER_SERVICE_UNAVAILABLE, ErrorCode.USER_NOT_AUTHORIZED_FOR_DOCKER}
)
"""The codes that speak of the engine itself, not of an image: exit code 5."""


REGISTRY_CODES = frozenset(
    {
        ErrorCode.NETWORK_ERROR,
        ErrorCode.THROTTLING_ERROR,
        ErrorCode.DOCKER_PULL_ERROR,
        ErrorCode.DOCKER_LOGIN_ERROR,
        ErrorCode.PULL_STALLED,
        ErrorCode.GET_ECR_CREDENTIAL_ERROR,
        ErrorCode.CREDENTIAL_ENDPOINT_AUTH_FAILURE,
        ErrorCode.CREDENTIAL_ENDPOINT_SERVER_ERROR,
    }
)
"""The codes that speak of the way to a registry rather than of one image in it."""


class DockermgrError(Exception):
    """One failure, whole: every layer below raises it or lets it through, none logs it.

    `message` says what happened, `hint` what mends it. `retry_after_seconds` is the shortest wait
    that the other side asked for. `credentials_refused` tells that a fresh token may help at once,
    `unresolved_name` that the name server does not know the registry's host, `ask_registry` that the
    registry itself may say more than the engine handed on.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        hint: str = "",
        retry: Retry = Retry.NEVER,
        retry_after_seconds: float | None = None,
        credentials_refused: bool = False,
        unresolved_name: bool = False,
        ask_registry: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.retry = retry
        self.retry_after_seconds = retry_after_seconds
        self.credentials_refused = credentials_refused
        self.unresolved_name = unresolved_name
        self.ask_registry = ask_registry

    @property
    def retryable(self) -> bool:
        """Whether another attempt, with nothing changed by anybody, can succeed."""
        return self.retry is not Retry.NEVER

    @property
    def registry_wide(self) -> bool:
        """Whether every image of the registry is likely to fail the same way now."""
        return self.retryable and self.code in REGISTRY_CODES

    def but(self, *, hint: str | None = None, retry: Retry | None = None) -> DockermgrError:
        """The same failure, with another mend or another life."""
        return DockermgrError(
            self.code,
            self.message,
            hint=self.hint if hint is None else hint,
            retry=self.retry if retry is None else retry,
            retry_after_seconds=self.retry_after_seconds,
            credentials_refused=self.credentials_refused,
            unresolved_name=self.unresolved_name,
            ask_registry=self.ask_registry,
        )

    def __str__(self) -> str:
        text = f"{self.code.value}: {self.message}"
        return f"{text} ({self.hint})" if self.hint else text


class Stopped(Exception):  # noqa: N818  # not an error: somebody asked us to stop
    """Work ended early because the process, or its reason, is going away."""
