"""The component's configuration: what may stand in it, and a validated value of what does.

Configuration reaches the component in several shapes: a YAML recipe's scalars arrive as strings on
the Lite nucleus, numbers as floats on the Java one, lists as JSON text when a script passed them on.
All of them are accepted. What is wrong is reported with its path, and the rest still applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dockermgr.policy import PullPolicy
from dockermgr.reader import Problem, Reader
from dockermgr.reference import InvalidReference, parse_reference
from dockermgr.registry import classify, is_ecr

CONFIGURATION_KEYS = (
    "images",
    "components",
    "pullPolicy",
    "maxConcurrentPulls",
    "startup",
    "retry",
    "timeouts",
    "registries",
    "allowedRegistries",
    "requireDigest",
    "status",
    "cleanup",
    "minFreeBytes",
)
"""Everything that may stand at the top of the configuration."""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """One entry of `images`: the URI as written; it is parsed where it is pulled."""

    uri: str
    pull_policy: PullPolicy | None = None
    platform: str | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class StartupConfig:
    """When the component reports RUNNING. Lite gives a component 300 s to settle: 240 leaves a margin."""

    wait_seconds: float = 240
    fail_on_error: bool = True


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Back-off between attempts; `max_attempts` counts for failures that are not the network's."""

    initial_seconds: float = 1
    max_seconds: float = 300
    max_attempts: int = 30


@dataclass(frozen=True, slots=True)
class TimeoutConfig:
    """Limits of one pull, in seconds; 0 is none. The defaults are the ECS agent's, but for stalls: slow
    flash storage may extract for minutes without a word."""

    first_byte_seconds: float = 300
    stall_seconds: float = 120
    extract_stall_seconds: float = 900
    total_seconds: float = 0


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """One registry: how to reach it, and where its credentials are, which are never in here themselves.

    Those are a user name and a file that holds the password, or a Secrets Manager secret with the JSON
    `{"username": …, "password": …}`; not for ECR.
    """

    username: str = ""
    password_file: str = ""
    secret_arn: str = ""
    mirrors: tuple[str, ...] = ()
    """`host[:port][/path]`, in the order in which they are asked."""
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class StatusConfig:
    """Where and how often to report."""

    topic: str = "dockermgr/status"
    iot_core_topic: str = ""
    min_interval_seconds: float = 10
    heartbeat_seconds: float = 300

    @property
    def image_topic(self) -> str:
        """Where the messages of single images go."""
        return f"{self.topic}/image"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, valid by construction."""

    images: tuple[ImageSpec, ...] = ()
    components: tuple[str, ...] = ()
    pull_policy: PullPolicy | None = None
    max_concurrent_pulls: int = 3
    startup: StartupConfig = StartupConfig()
    retry: RetryConfig = RetryConfig()
    timeouts: TimeoutConfig = TimeoutConfig()
    registries: Mapping[str, RegistryConfig] = field(default_factory=dict)
    allowed_registries: tuple[str, ...] = ()
    require_digest: bool = False
    status: StatusConfig = StatusConfig()
    min_free_bytes: int = 0

    def registry(self, host: str) -> RegistryConfig:
        """What is configured for a registry; the defaults where nothing is."""
        return self.registries.get(host, RegistryConfig())


def parse_config(raw: object) -> tuple[Config, tuple[Problem, ...]]:
    """`raw` as GetConfiguration gave it → the configuration that applies, and what was wrong with it.

    Never raises: a value that cannot be used is replaced by its default and reported.
    """
    reader = Reader(raw)
    # The nucleus's own key: its authorization policies live in the component's configuration.
    reader.ignore("accessControl")
    # In the contract and in the recipe's defaults; nothing acts on it in this version.
    reader.ignore("cleanup")
    startup = reader.child("startup")
    retry = reader.child("retry")
    timeouts = reader.child("timeouts")
    status = reader.child("status")
    initial_seconds = retry.number("initialSeconds", 1, least=0.1)
    config = Config(
        images=parse_images(reader, "images"),
        components=reader.texts("components"),
        pull_policy=reader.choice("pullPolicy", PullPolicy),
        max_concurrent_pulls=reader.integer("maxConcurrentPulls", 3, least=1),
        startup=StartupConfig(
            wait_seconds=startup.number("waitSeconds", 240, least=0),
            fail_on_error=startup.one_of("onFailure", ("error", "continue")) != "continue",
        ),
        retry=RetryConfig(
            initial_seconds=initial_seconds,
            max_seconds=max(initial_seconds, retry.number("maxSeconds", 300, least=0.1)),
            max_attempts=retry.integer("maxAttempts", 30, least=1),
        ),
        timeouts=TimeoutConfig(
            first_byte_seconds=timeouts.number("firstByteSeconds", 300, least=0),
            stall_seconds=timeouts.number("stallSeconds", 120, least=0),
            extract_stall_seconds=timeouts.number("extractStallSeconds", 900, least=0),
            total_seconds=timeouts.number("totalSeconds", 0, least=0),
        ),
        registries=_registries(reader.child("registries")),
        allowed_registries=reader.texts("allowedRegistries"),
        require_digest=reader.boolean("requireDigest", default=False),
        min_free_bytes=reader.integer("minFreeBytes", 0, least=0, most=1e18),
        status=StatusConfig(
            topic=status.text("topic", "dockermgr/status") or "dockermgr/status",
            iot_core_topic=status.text("iotCoreTopic", ""),
            min_interval_seconds=status.number("minIntervalSeconds", 10, least=0),
            heartbeat_seconds=status.number("heartbeatSeconds", 300, least=1),
        ),
    )
    for part in (startup, retry, timeouts, status, reader):
        part.report_unknown()
    return config, tuple(reader.problems)


def parse_dependent_images(raw: object) -> tuple[tuple[ImageSpec, ...], tuple[Problem, ...]]:
    """The `dockerImages` of another component's configuration; `raw` is that key's value."""
    reader = Reader({"dockerImages": raw})
    return parse_images(reader, "dockerImages"), tuple(reader.problems)


def parse_images(reader: Reader, key: str) -> tuple[ImageSpec, ...]:
    """A list of `"docker:…"` or `{uri, pullPolicy, platform, required}`."""
    images = []
    for item in reader.items(key):
        if isinstance(item.raw, str):
            images.append(ImageSpec(item.raw))
            continue
        uri = item.text("uri", "")
        if uri:
            images.append(
                ImageSpec(
                    uri=uri,
                    pull_policy=item.choice("pullPolicy", PullPolicy),
                    platform=item.text("platform", "") or None,
                    required=item.boolean("required", default=True),
                )
            )
        elif isinstance(item.raw, Mapping):
            item.complain("uri", "is missing: write docker:<image>")
        item.report_unknown()
    return tuple(images)


def _registries(reader: Reader) -> dict[str, RegistryConfig]:
    registries = {}
    for host in reader.names():
        entry = reader.child(host)
        username, password_file = entry.text("username", ""), entry.text("passwordFile", "")
        secret_arn = entry.text("secretArn", "")
        if secret_arn and (username or password_file):
            entry.complain("", "takes either secretArn, or username and passwordFile")
            username, password_file, secret_arn = "", "", ""
        elif bool(username) != bool(password_file):
            entry.complain("", "needs both username and passwordFile")
            username, password_file = "", ""
        config = RegistryConfig(
            username, password_file, secret_arn, _mirrors(entry), _insecure(entry, host)
        )
        if config != RegistryConfig():
            registries[host.lower()] = config
        entry.report_unknown()
    return registries


def _mirrors(entry: Reader) -> tuple[str, ...]:
    mirrors = []
    for index, text in enumerate(entry.texts("mirrors")):
        mirror = text.rstrip("/")
        try:
            known = parse_reference(f"{mirror}/any").name == f"{mirror}/any"
        except InvalidReference:
            known = False
        if known:
            mirrors.append(mirror)
        else:
            entry.complain(f"mirrors[{index}]", f"must be host or host/path, is {text!r}")
    return tuple(mirrors)


def _insecure(entry: Reader, host: str) -> bool:
    insecure = entry.boolean("insecure", default=False)
    if insecure and is_ecr(classify(host).kind):
        entry.complain("insecure", "is not for Amazon's registries, which get AWS tokens")
        return False
    return insecure
