"""Tokens are fetched once, kept while they are good, and given to the right registries only."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockermgr.config import RegistryConfig
from dockermgr.credentials import (
    LEAST_LIFE_SECONDS,
    REFRESH_AGAIN_SECONDS,
    REFRESH_AT_SHARE,
    REFRESH_JITTER,
    Credential,
    Credentials,
    EcrTokens,
)
from dockermgr.ecr import EcrToken
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.redact import redact
from dockermgr.registry import classify

LIFE = 12 * 3600.0
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
OTHER_ACCOUNT = "111122223333.dkr.ecr.us-east-1.amazonaws.com"


class Clock:
    def __init__(self) -> None:
        self.now = 50_000.0

    def __call__(self) -> float:
        return self.now


class Fetcher:
    """In the place of AWS: hands out token-1, token-2 and so on."""

    def __init__(self, life_seconds: float = LIFE) -> None:
        self.life_seconds = life_seconds
        self.asked: list[tuple[str, bool]] = []
        self.failure: Exception | None = None
        self.before: Callable[[], object] = lambda: None
        self._numbers = itertools.count(1)

    def fetch(self, region: str, *, fips: bool) -> EcrToken:
        self.asked.append((region, fips))
        self.before()
        if self.failure is not None:
            raise self.failure
        return EcrToken("AWS", f"token-{next(self._numbers)}", time.time() + self.life_seconds)


class Registry:
    """In the place of the engine's login: takes every password, or those it is told to."""

    def __init__(self) -> None:
        self.logins: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        self.failure: DockermgrError | None = None

    def login(self, host: str, credential: Credential) -> None:
        self.logins.append((host, credential.password))
        if self.failure is not None:
            raise self.failure
        if credential.password in self.refused:
            raise refusal()


def refusal() -> DockermgrError:
    return DockermgrError(ErrorCode.DOCKER_LOGIN_ERROR, "401", credentials_refused=True)


def away() -> DockermgrError:
    return DockermgrError(ErrorCode.NETWORK_ERROR, "away", retry=Retry.UNTIL_MENDED)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher()


@pytest.fixture
def tokens(fetcher: Fetcher, clock: Clock) -> EcrTokens:
    return EcrTokens(fetcher, clock=clock)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def credentials(tokens: EcrTokens, registry: Registry) -> Credentials:
    return Credentials(tokens, registry.login)


def test_a_thousand_questions_from_many_threads_cost_one_call(
    fetcher: Fetcher, tokens: EcrTokens
) -> None:
    waiting = threading.Barrier(50)
    fetcher.before = lambda: time.sleep(0.05)

    def get(_: int) -> str:
        waiting.wait(30)
        return [tokens.get("us-east-1").password for _ in range(20)][-1]

    with ThreadPoolExecutor(50) as pool:
        found = set(pool.map(get, range(50)))
    assert found == {"token-1"}
    assert len(fetcher.asked) == 1


def test_one_token_for_each_region_and_endpoint(fetcher: Fetcher, tokens: EcrTokens) -> None:
    for _ in range(2):
        tokens.get("us-east-1")
        tokens.get("eu-west-1")
        tokens.get("us-east-1", fips=True)
    assert Counter(fetcher.asked) == {
        ("us-east-1", False): 1,
        ("eu-west-1", False): 1,
        ("us-east-1", True): 1,
    }


def test_a_token_is_refreshed_at_about_half_of_its_life(
    fetcher: Fetcher, tokens: EcrTokens, clock: Clock
) -> None:
    start = clock.now
    tokens.get("us-east-1")
    clock.now = start + LIFE * REFRESH_AT_SHARE * (1 - REFRESH_JITTER) - 1
    assert tokens.get("us-east-1").password == "token-1"
    clock.now = start + LIFE * REFRESH_AT_SHARE * (1 + REFRESH_JITTER) + 1
    assert tokens.get("us-east-1").password == "token-2"
    assert len(fetcher.asked) == 2


def test_devices_refresh_at_different_times(clock: Clock) -> None:
    def refreshes_after(step_seconds: float = 300) -> int:
        fetcher, own = Fetcher(), Clock()
        tokens = EcrTokens(fetcher, clock=own)
        for steps in itertools.count():
            tokens.get("us-east-1")
            if len(fetcher.asked) == 2:
                return steps
            own.now += step_seconds
        raise AssertionError

    assert len({refreshes_after() for _ in range(12)}) > 1


@pytest.mark.parametrize("life_seconds", [-300_000_000.0, 0.0, 10.0])
def test_an_expiry_in_the_past_does_not_mean_a_token_for_each_pull(
    life_seconds: float, clock: Clock
) -> None:
    fetcher = Fetcher(life_seconds)
    tokens = EcrTokens(fetcher, clock=clock)
    tokens.get("us-east-1")
    clock.now += LEAST_LIFE_SECONDS - 1
    assert tokens.get("us-east-1").password == "token-1"
    clock.now += 2
    assert tokens.get("us-east-1").password == "token-2"


def test_while_aws_is_away_the_old_token_is_kept_as_long_as_it_is_good(
    fetcher: Fetcher, tokens: EcrTokens, clock: Clock
) -> None:
    start = clock.now
    tokens.get("us-east-1")
    fetcher.failure = away()
    clock.now = start + LIFE * 0.9
    assert tokens.get("us-east-1").password == "token-1"
    clock.now = start + LIFE + 1
    with pytest.raises(DockermgrError, match="away"):
        tokens.get("us-east-1")
    fetcher.failure = None
    assert tokens.get("us-east-1").password == "token-2"


def test_a_failure_is_not_kept(fetcher: Fetcher, tokens: EcrTokens) -> None:
    fetcher.failure = away()
    for _ in range(2):
        with pytest.raises(DockermgrError, match="away"):
            tokens.get("us-east-1")
    fetcher.failure = None
    assert tokens.get("us-east-1").password == "token-1"


def test_what_is_no_failure_of_aws_is_not_covered_up(
    fetcher: Fetcher, tokens: EcrTokens, clock: Clock
) -> None:
    tokens.get("us-east-1")
    clock.now += LIFE * 0.9
    fetcher.failure = ValueError("a defect")
    with pytest.raises(ValueError, match="a defect"):
        tokens.get("us-east-1")


def test_a_refused_token_is_fetched_anew_once(fetcher: Fetcher, tokens: EcrTokens) -> None:
    refused = tokens.get("us-east-1")
    tokens.invalidate(refused)
    assert tokens.get("us-east-1").password == "token-2"
    for _ in range(5):
        tokens.invalidate(refused)
    assert tokens.get("us-east-1").password == "token-2"
    assert len(fetcher.asked) == 2


def test_tokens_are_masked_in_texts_and_not_shown(tokens: EcrTokens) -> None:
    credential = tokens.get("us-east-1")
    assert redact(f"password {credential.password}") == "password ***"
    assert credential.password not in repr(credential)


def test_private_ecr_is_signed_in_to_once_per_host(
    credentials: Credentials, registry: Registry, fetcher: Fetcher
) -> None:
    for _ in range(3):
        for host in (ECR, OTHER_ACCOUNT):
            found = credentials.sign_in(classify(host))
            assert found == Credential("AWS", "token-1")
    assert registry.logins == [(ECR, "token-1"), (OTHER_ACCOUNT, "token-1")]
    assert fetcher.asked == [("us-east-1", False)]


def test_many_threads_sign_in_once(credentials: Credentials, registry: Registry) -> None:
    waiting = threading.Barrier(40)

    def sign_in(_: int) -> Credential | None:
        waiting.wait(30)
        return credentials.sign_in(classify(ECR))

    with ThreadPoolExecutor(40) as pool:
        assert set(pool.map(sign_in, range(40))) == {Credential("AWS", "token-1")}
    assert registry.logins == [(ECR, "token-1")]


def test_fips_hosts_ask_the_fips_endpoint(credentials: Credentials, fetcher: Fetcher) -> None:
    credentials.sign_in(classify(ECR.replace("dkr.ecr.", "dkr.ecr-fips.")))
    assert fetcher.asked == [("us-east-1", True)]


@pytest.mark.parametrize(
    "host",
    [
        f"{ECR}.evil.example",
        f"{ECR}:443",
        f"evil.{ECR}",
        f"x{ECR}",
        ECR.replace("amazonaws.com", "amazonaws.com.evil.example"),
        ECR.replace("amazonaws", "arnazonaws"),
        ECR.replace("dkr.ecr", "dkr-ecr"),
        "docker.io",
        "public.ecr.aws",
        "localhost:5000",
    ],
)
def test_no_other_host_is_ever_sent_a_token(
    host: str, credentials: Credentials, registry: Registry, fetcher: Fetcher
) -> None:
    assert credentials.sign_in(classify(host)) is None
    assert (fetcher.asked, registry.logins) == ([], [])


def test_a_token_that_the_login_refuses_is_fetched_anew_once(
    credentials: Credentials, registry: Registry, fetcher: Fetcher
) -> None:
    registry.refused = {"token-1"}
    assert credentials.sign_in(classify(ECR)) == Credential("AWS", "token-2")
    assert registry.logins == [(ECR, "token-1"), (ECR, "token-2")]

    registry.refused = {"token-2", "token-3", "token-4"}
    credentials.refused(classify(ECR), Credential("AWS", "token-2"))
    with pytest.raises(DockermgrError, match="401"):
        credentials.sign_in(classify(ECR))


def test_a_login_that_fails_for_another_reason_keeps_the_token(
    credentials: Credentials, registry: Registry, fetcher: Fetcher
) -> None:
    registry.failure = away()
    with pytest.raises(DockermgrError, match="away"):
        credentials.sign_in(classify(ECR))
    registry.failure = None
    assert credentials.sign_in(classify(ECR)) == Credential("AWS", "token-1")
    assert len(fetcher.asked) == 1


def test_a_token_refused_by_a_pull_is_replaced(
    credentials: Credentials, registry: Registry, fetcher: Fetcher
) -> None:
    first = credentials.sign_in(classify(ECR))
    assert first is not None
    assert credentials.refused(classify(ECR), first)
    assert credentials.sign_in(classify(ECR)) == Credential("AWS", "token-2")
    # Another pull that had the first one comes late: the second stays.
    assert credentials.refused(classify(ECR), first)
    assert credentials.sign_in(classify(ECR)) == Credential("AWS", "token-2")
    assert len(fetcher.asked) == 2


def test_a_refreshed_token_is_checked_again(
    credentials: Credentials, registry: Registry, clock: Clock
) -> None:
    credentials.sign_in(classify(ECR))
    clock.now += LIFE
    credentials.sign_in(classify(ECR))
    assert registry.logins == [(ECR, "token-1"), (ECR, "token-2")]


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("pass-word-1\n", encoding="utf-8")
    return path


def test_other_registries_take_what_is_configured(
    credentials: Credentials, registry: Registry, password_file: Path
) -> None:
    credentials.configure({"registry.example.com": RegistryConfig("robot", str(password_file))})
    found = credentials.sign_in(classify("registry.example.com"))
    assert found == Credential("robot", "pass-word-1")
    assert credentials.sign_in(classify("other.example.com")) is None
    assert redact("got pass-word-1") == "got ***"

    password_file.write_text("pass-word-2", encoding="utf-8")
    rotated = credentials.sign_in(classify("registry.example.com"))
    assert rotated == Credential("robot", "pass-word-2")
    assert [password for _, password in registry.logins] == ["pass-word-1", "pass-word-2"]


def test_a_configured_password_that_is_refused_is_set_aside_for_images_that_are_public(
    credentials: Credentials,
    registry: Registry,
    password_file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry.refused = {"pass-word-1"}
    credentials.configure({"registry.example.com": RegistryConfig("robot", str(password_file))})
    assert credentials.sign_in(classify("registry.example.com")) is None
    assert registry.logins == [("registry.example.com", "pass-word-1")]
    assert "going on without credentials" in caplog.text


SECRET = {"registry.example.com": RegistryConfig(secret_arn="arn:secret")}


def test_a_secret_holds_user_name_and_password(credentials: Credentials) -> None:
    credentials.configure(SECRET)
    credentials.use_secrets(lambda arn: f'{{"username": "{arn}", "password": "pass-word-3"}}')
    found = credentials.sign_in(classify("registry.example.com"))
    assert found == Credential("arn:secret", "pass-word-3")
    assert redact("pass-word-3") == "***"


@pytest.mark.parametrize(
    "text",
    [
        "pass-word-4",
        '["pass-word-4"]',
        '{"password": "pass-word-4"}',
        '{"username": 1, "password": "pass-word-4"}',
        '{"username": "pass-word-4", "password": ""}',
        "null",
    ],
)
def test_a_secret_of_another_form_is_not_told(text: str, credentials: Credentials) -> None:
    credentials.configure(SECRET)
    credentials.use_secrets(lambda arn: text)
    with pytest.raises(DockermgrError) as caught:
        credentials.sign_in(classify("registry.example.com"))
    assert caught.value.code is ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID
    assert "registries.registry.example.com.secretArn" in caught.value.hint
    assert "pass-word-4" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_only_the_component_itself_can_read_secrets(credentials: Credentials) -> None:
    credentials.configure(SECRET)
    with pytest.raises(DockermgrError, match="only the component itself can read") as caught:
        credentials.sign_in(classify("registry.example.com"))
    assert not caught.value.retryable


def test_ecr_public_is_asked_for_a_token_where_there_are_credentials(
    tokens: EcrTokens, registry: Registry, fetcher: Fetcher
) -> None:
    with_tokens = Credentials(tokens, registry.login, public_tokens=True)
    public = classify("public.ecr.aws")
    assert with_tokens.sign_in(public) == Credential("AWS", "token-1")
    assert registry.logins == [("public.ecr.aws", "token-1")]


def test_ecr_public_is_used_without_a_token_that_is_not_given(
    tokens: EcrTokens, registry: Registry, fetcher: Fetcher
) -> None:
    with_tokens = Credentials(tokens, registry.login, public_tokens=True)
    fetcher.failure = away()
    for _ in range(3):
        assert with_tokens.sign_in(classify("public.ecr.aws")) is None
    assert len(fetcher.asked) == 1
    assert registry.logins == []


def test_configured_credentials_never_replace_a_token(
    credentials: Credentials, password_file: Path
) -> None:
    credentials.configure({ECR: RegistryConfig("robot", str(password_file))})
    assert credentials.sign_in(classify(ECR)) == Credential("AWS", "token-1")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff"])
def test_a_password_file_that_cannot_be_read_is_named(
    content: bytes | None, credentials: Credentials, tmp_path: Path
) -> None:
    path = tmp_path / "absent"
    if content is not None:
        path.write_bytes(content)
    credentials.configure({"registry.example.com": RegistryConfig("robot", str(path))})
    with pytest.raises(DockermgrError) as caught:
        credentials.sign_in(classify("registry.example.com"))
    assert caught.value.code is ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID
    assert "registries.registry.example.com.passwordFile" in caught.value.hint


def test_a_new_password_does_not_wait_for_what_becomes_of_the_old_one(
    tokens: EcrTokens, password_file: Path
) -> None:
    asked, go = threading.Event(), threading.Event()

    def login(host: str, credential: Credential) -> None:
        if credential.password == "pass-word-1":
            asked.set()
            assert go.wait(30)
            raise refusal()

    host = classify("registry.example.com")
    credentials = Credentials(tokens, login)
    credentials.configure({host.host: RegistryConfig("robot", str(password_file))})
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(credentials.sign_in, host)
        assert asked.wait(30)
        password_file.write_text("pass-word-2", encoding="utf-8")
        assert credentials.sign_in(host) == Credential("robot", "pass-word-2")
        go.set()
        assert first.result(30) is None


def test_an_early_refresh_that_failed_is_not_tried_with_every_question(
    fetcher: Fetcher, tokens: EcrTokens, clock: Clock
) -> None:
    tokens.get("us-east-1")
    clock.now += LIFE * 0.9
    fetcher.failure = away()
    for _ in range(10):
        assert tokens.get("us-east-1").password == "token-1"
    assert len(fetcher.asked) == 2
    clock.now += REFRESH_AGAIN_SECONDS
    fetcher.failure = None
    assert tokens.get("us-east-1").password == "token-2"
