"""The way of one image, over an engine that does as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockermgr import locks, puller, retry, watchdog
from dockermgr.cancellation import Cancellation
from dockermgr.config import Config, ImageSpec, RetryConfig, TimeoutConfig
from dockermgr.credentials import Credential, Credentials, EcrTokens
from dockermgr.ecr import EcrToken
from dockermgr.errors import DockermgrError, ErrorCode, Retry, Stopped
from dockermgr.image import ImageRequest, ImageState, ImageUpdate
from dockermgr.images import LocalImage, LocalImages
from dockermgr.listing import Listing
from dockermgr.locks import ImageLocks
from dockermgr.policy import PullPolicy
from dockermgr.progress import Progress, Stage
from dockermgr.proxies import Proxies
from dockermgr.puller import Memory, Puller
from dockermgr.reconcile import to_request
from dockermgr.reference import Reference

DIGEST = "sha256:" + "d" * 64
OTHER_DIGEST = "sha256:" + "e" * 64
PLATFORM = "linux/amd64"
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
QUICK = RetryConfig(initial_seconds=0.001, max_seconds=0.001, max_attempts=3)

Event = Mapping[str, object]
Outcome = Sequence[Event] | DockermgrError | Callable[["FakeStream"], Iterable[Event]]
"""What a pull does: the events of one that succeeds, its failure, or anything."""


def failure(
    code: ErrorCode = ErrorCode.NETWORK_ERROR,
    retry: Retry = Retry.UNTIL_MENDED,
    *,
    refused: bool = False,
) -> DockermgrError:
    """An error as the engine's edge raises it."""
    return DockermgrError(code, "as told", retry=retry, credentials_refused=refused)


def layer(status: str, current: int = 0, total: int = 0) -> dict[str, object]:
    """An event of one layer."""
    return {"id": "a", "status": status, "progressDetail": {"current": current, "total": total}}


def pulled(digest: str = DIGEST) -> list[dict[str, object]]:
    """The events of a whole pull of one layer."""
    return [
        layer("Downloading", 50, 100),
        layer("Download complete"),
        layer("Extracting", 100, 100),
        layer("Pull complete"),
        {"status": f"Digest: {digest}"},
    ]


class FakeStream:
    """One pull; `aborted` is set by `abort`."""

    def __init__(self, engine: FakeEngine, outcome: Outcome) -> None:
        self._engine = engine
        self._outcome = outcome
        self.aborted = threading.Event()
        self.closed = False

    def events(
        self, reference: Reference, credential: Credential | None, platform: str | None
    ) -> Iterator[Event]:
        self._engine.pulls.append((str(reference), credential, platform))
        outcome = self._engine.by_name.get(str(reference), self._outcome)
        if isinstance(outcome, DockermgrError):
            raise outcome
        if callable(outcome):
            yield from outcome(self)
            return
        yield from outcome
        self._engine.add(reference)

    def abort(self) -> None:
        self.aborted.set()

    def close(self) -> None:
        self.closed = True


def then_silent(*events: Event) -> Callable[[FakeStream], Iterator[Event]]:
    """An outcome: after the events nothing comes until the stream is aborted, and then an error."""

    def outcome(stream: FakeStream) -> Iterator[Event]:
        yield from events
        assert stream.aborted.wait(30)
        raise failure(ErrorCode.DOCKER_SERVICE_UNAVAILABLE)

    return outcome


silent = then_silent()


def silent_then_ended(stream: FakeStream) -> Iterator[Event]:
    """An outcome: nothing comes until the stream is aborted, and then it looks like the end."""
    assert stream.aborted.wait(30)
    yield from ()


class FakeEngine:
    """Holds images by reference. A pull does what `by_name` says of its image; else each takes the next
    outcome, and the last one for good.
    """

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes: list[Outcome] = list(outcomes) or [pulled()]
        self.by_name: dict[str, Outcome] = {}
        self.pulls: list[tuple[str, Credential | None, str | None]] = []
        self.streams: list[FakeStream] = []
        self.listings = 0
        self.listing_failures: list[DockermgrError] = []
        self.image_platform = PLATFORM
        self.https_proxy = ""
        self._images: dict[str, LocalImage] = {}
        self._lock = threading.Lock()

    def add(self, reference: Reference, image_id: str = "sha256:id") -> LocalImage:
        """Has `reference` from now on."""
        digest = reference.digest or DIGEST
        tag = f"{reference.familiar_name}:{reference.effective_tag}"
        image = LocalImage(
            image_id,
            100,
            (tag,) if reference.effective_tag else (),
            (f"{reference.familiar_name}@{digest}",),
            self.image_platform,
        )
        self._images[str(reference)] = image
        return image

    def free_bytes(self) -> int | None:
        return None

    def layer_chains(self) -> list[list[str]]:
        return []

    def platform(self) -> str:
        return PLATFORM

    def proxies(self) -> Proxies:
        return Proxies.of(self.https_proxy, "")

    def images(self) -> LocalImages:
        self.listings += 1
        if self.listing_failures:
            raise self.listing_failures.pop(0)
        return LocalImages(self._images.values())

    def inspect(self, reference: Reference) -> LocalImage | None:
        return self._images.get(str(reference))

    def untag(self, reference: Reference) -> None:
        del self._images[str(reference)]

    def pull(self) -> FakeStream:
        with self._lock:
            outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
            stream = FakeStream(self, outcome)
            self.streams.append(stream)
        return stream


class FakeAws:
    """Hands out token-1, token-2 and so on."""

    def __init__(self) -> None:
        self.tokens = 0

    def fetch(self, region: str, *, fips: bool) -> EcrToken:
        self.tokens += 1
        return EcrToken("AWS", f"token-{self.tokens}", 0)


def credentials(aws: FakeAws | None = None) -> Credentials:
    """Real credentials over a fake AWS, and a registry that takes all of them."""
    return Credentials(EcrTokens(aws or FakeAws()), lambda host, credential: None)


def new_puller(engine: FakeEngine, folder: Path, config: Config) -> Puller:
    """A puller that remembers nothing, with its locks in `folder`."""
    memory = Memory(lambda *_: None, is_ours=lambda _: True, was_reached=lambda _: True)
    puller = Puller(engine, credentials(), memory, ImageLocks(folder))
    puller.configure(config)
    return puller


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(retry, "LEAST_WAIT_SECONDS", 0.0)


def request(
    image: str = "nginx:1", policy: PullPolicy | None = None, platform: str | None = None
) -> ImageRequest:
    return to_request(ImageSpec(f"docker:{image}", policy, platform), None)


class Way:
    """A puller over a fake engine, and what it reported."""

    def __init__(
        self,
        folder: Path,
        engine: FakeEngine,
        config: Config | None = None,
        *,
        is_ours: bool = True,
        was_reached: bool = True,
    ) -> None:
        self.engine = engine
        self.aws = FakeAws()
        self.recorded: list[tuple[ImageRequest, LocalImage]] = []
        self.updates: list[ImageUpdate] = []
        self.cancellation = Cancellation()
        self.listing = Listing(engine)
        memory = Memory(
            lambda *both: self.recorded.append(both),
            is_ours=lambda _: is_ours,
            was_reached=lambda _: was_reached,
        )
        self.puller = Puller(engine, credentials(self.aws), memory, ImageLocks(folder))
        self.puller.configure(config or Config(retry=QUICK))

    def ensure(self, wanted: ImageRequest) -> ImageUpdate:
        return self.puller.ensure(wanted, self.listing, self.updates.append, self.cancellation)

    @property
    def states(self) -> list[str]:
        """The states in turn, without repeats."""
        names = [update.state.value for update in self.updates]
        return [name for name, last in zip(names, [None, *names], strict=False) if name != last]


def test_an_image_that_is_absent_is_pulled_and_recorded(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine())
    wanted = request()
    update = way.ensure(wanted)

    assert way.states == ["PULLING", "READY"]
    assert way.updates[-1] is update
    assert (update.attempt, update.digest, update.error) == (1, DIGEST, None)
    assert update.duration_seconds is not None
    assert way.engine.pulls == [("docker.io/library/nginx:1", None, None)]
    assert way.recorded == [(wanted, update.image)]
    looks = [update.progress for update in way.updates[:-1]]
    assert looks == [
        Progress(Stage.RESOLVING, 0, 0, 0),
        Progress(Stage.DOWNLOADING, 50, 100, 35),
        Progress(Stage.EXTRACTING, 100, 100, 70),
        Progress(Stage.COMPLETE, 100, 100, 100),
    ]
    assert all(stream.closed for stream in way.engine.streams)


def test_an_image_that_is_present_is_ready_without_a_word_to_the_registry(tmp_path: Path) -> None:
    engine = FakeEngine()
    wanted = request()
    engine.add(wanted.reference)
    way = Way(tmp_path, engine)
    update = way.ensure(wanted)
    assert way.states == ["READY"]
    assert (update.digest, update.attempt) == (DIGEST, 1)
    assert (engine.pulls, way.recorded) == ([], [])


def test_a_hundred_present_images_cost_one_listing(tmp_path: Path) -> None:
    engine = FakeEngine()
    wanted = [request(f"app-{number}:1") for number in range(100)]
    for one in wanted:
        engine.add(one.reference)
    way = Way(tmp_path, engine)
    for one in wanted:
        assert way.ensure(one).state is ImageState.READY
    assert engine.listings == 1


def test_always_pulls_what_is_present(tmp_path: Path) -> None:
    engine = FakeEngine()
    wanted = request(policy=PullPolicy.ALWAYS)
    engine.add(wanted.reference)
    way = Way(tmp_path, engine)
    assert way.ensure(wanted).error is None
    assert len(engine.pulls) == 1
    assert way.states == ["PULLING", "READY"]


def test_always_and_offline_is_ready_with_a_warning_until_it_is_mended(tmp_path: Path) -> None:
    engine = FakeEngine(failure(), pulled())
    wanted = request(policy=PullPolicy.ALWAYS)
    present = engine.add(wanted.reference)
    way = Way(tmp_path, engine)
    last = way.ensure(wanted)
    assert way.states == ["PULLING", "READY", "PULLING", "READY"]
    (warned,) = [update for update in way.updates if update.error is not None]
    assert (warned.state, warned.image, warned.digest) == (ImageState.READY, present, DIGEST)
    assert warned.retry_at is not None
    assert (last.error, last.attempt) == (None, 2)


def test_never_means_never(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine())
    update = way.ensure(request(policy=PullPolicy.NEVER))
    assert way.states == ["FAILED"]
    assert update.error is not None
    assert update.error.code is ErrorCode.DOCKER_IMAGE_NOT_VALID
    assert way.engine.pulls == []

    way.engine.add(request().reference)
    way.listing = Listing(way.engine)
    assert way.ensure(request(policy=PullPolicy.NEVER)).state is ImageState.READY


@pytest.mark.parametrize(
    "config",
    [Config(allowed_registries=("quay.io",)), Config(require_digest=True)],
    ids=["allowedRegistries", "requireDigest"],
)
def test_what_is_not_allowed_is_not_even_looked_for(config: Config, tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine(), config)
    update = way.ensure(request())
    assert update.error is not None
    assert update.error.code is ErrorCode.REGISTRY_NOT_ALLOWED
    assert (way.states, way.engine.listings, way.engine.pulls) == (["FAILED"], 0, [])


def test_what_time_mends_is_tried_again(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine(*(failure() for _ in range(10)), pulled()))
    update = way.ensure(request())
    assert (update.state, update.attempt) == (ImageState.READY, 11)
    assert way.states == ["PULLING", "RETRYING"] * 10 + ["PULLING", "READY"]
    retries = [update for update in way.updates if update.state is ImageState.RETRYING]
    assert [update.attempt for update in retries] == list(range(1, 11))


def test_what_only_may_mend_ends_after_the_attempts(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine(failure(ErrorCode.DOCKER_PULL_ERROR, Retry.LIMITED)))
    update = way.ensure(request())
    assert (update.state, update.attempt) == (ImageState.FAILED, 3)
    assert way.recorded == []


def test_what_nobody_can_mend_by_waiting_fails_at_once(tmp_path: Path) -> None:
    error = failure(ErrorCode.DOCKER_IMAGE_NOT_VALID, Retry.NEVER)
    way = Way(tmp_path, FakeEngine(error))
    assert way.ensure(request()).error is error
    assert way.states == ["PULLING", "FAILED"]


def test_an_engine_that_is_away_is_waited_for(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.listing_failures = [failure(ErrorCode.DOCKER_SERVICE_UNAVAILABLE)] * 3
    way = Way(tmp_path, engine)
    assert way.ensure(request()).attempt == 4
    assert way.states == ["RETRYING", "PULLING", "READY"]


def test_another_platform_is_pulled_again(tmp_path: Path) -> None:
    engine = FakeEngine()
    wanted = request(platform="linux/arm64")
    engine.add(wanted.reference)
    engine.image_platform = "linux/arm64"
    way = Way(tmp_path, engine)
    assert way.ensure(wanted).state is ImageState.READY
    assert engine.pulls == [("docker.io/library/nginx:1", None, "linux/arm64")]

    again = Way(tmp_path, engine)
    assert again.ensure(wanted).state is ImageState.READY
    assert len(engine.pulls) == 1


def test_an_image_that_came_for_another_platform_is_not_ready(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine())
    update = way.ensure(request(platform="linux/arm64"))
    assert update.error is not None
    assert update.error.code is ErrorCode.IMAGE_PLATFORM_MISMATCH
    assert way.recorded == []


def test_another_digest_than_was_asked_for_is_not_ready(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine(pulled(OTHER_DIGEST)))
    update = way.ensure(request(f"nginx@{DIGEST}"))
    assert update.error is not None
    assert (update.error.code, update.attempt) == (ErrorCode.IMAGE_DIGEST_MISMATCH, 3)
    assert way.recorded == []
    assert Way(tmp_path, FakeEngine(pulled())).ensure(request(f"nginx@{DIGEST}")).digest == DIGEST


def test_an_image_that_is_gone_after_its_pull_is_tried_again(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine(lambda stream: (), pulled()))
    update = way.ensure(request())
    assert (update.state, update.attempt) == (ImageState.READY, 2)


TIMEOUTS = TimeoutConfig(first_byte_seconds=0.05, stall_seconds=0.05, extract_stall_seconds=0.05)


@pytest.mark.parametrize("outcome", [silent, silent_then_ended])
def test_a_pull_that_says_nothing_is_ended_and_tried_again(
    outcome: Outcome, tmp_path: Path
) -> None:
    way = Way(tmp_path, FakeEngine(outcome, pulled()), Config(retry=QUICK, timeouts=TIMEOUTS))
    assert way.ensure(request()).attempt == 2
    (stalled,) = [update.error for update in way.updates if update.error is not None]
    assert (stalled.code, stalled.retry) == (ErrorCode.PULL_STALLED, Retry.UNTIL_MENDED)
    assert "waited 0.05 s for the first answer" in stalled.message
    assert all(stream.closed for stream in way.engine.streams)


DOCKER_BEGINS: Event = {"status": "Pulling from library/app", "id": "1"}


@pytest.mark.parametrize(
    ("event", "timeouts", "says"),
    [
        (
            layer("Downloading", 1, 2),
            TimeoutConfig(stall_seconds=0.05),
            "0.05 s for more while downloading",
        ),
        (
            layer("Extracting", 1, 2),
            TimeoutConfig(extract_stall_seconds=0.05),
            "0.05 s for more while extracting",
        ),
        (
            layer("Extracting", 1, 2),
            TimeoutConfig(total_seconds=0.05),
            "0.05 s for the whole image",
        ),
        (
            layer("Downloading", 1, 2),
            TimeoutConfig(stall_seconds=0, total_seconds=0.05),
            "0.05 s for the whole image",
        ),
    ],
)
def test_each_stage_has_its_own_patience(
    event: dict[str, object], timeouts: TimeoutConfig, says: str, tmp_path: Path
) -> None:
    way = Way(
        tmp_path,
        FakeEngine(then_silent(DOCKER_BEGINS, event), pulled()),
        Config(retry=QUICK, timeouts=timeouts),
    )
    assert way.ensure(request()).attempt == 2
    (stalled,) = [update.error for update in way.updates if update.error is not None]
    assert stalled.code is ErrorCode.PULL_STALLED
    assert says in stalled.message


def test_an_engine_that_repeats_itself_has_stalled(tmp_path: Path) -> None:
    def outcome(stream: FakeStream) -> Iterator[Event]:
        yield DOCKER_BEGINS
        while not stream.aborted.wait(0.01):
            yield layer("Downloading", 1, 2)
        raise failure(ErrorCode.DOCKER_SERVICE_UNAVAILABLE)

    config = Config(retry=QUICK, timeouts=TimeoutConfig(stall_seconds=0.1))
    assert Way(tmp_path, FakeEngine(outcome, pulled()), config).ensure(request()).attempt == 2


@pytest.mark.parametrize("outcome", [silent, silent_then_ended])
def test_cancelling_ends_a_pull(outcome: Outcome, tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine(outcome))

    def stop_when_begun(update: ImageUpdate) -> None:
        way.updates.append(update)
        threading.Thread(target=way.cancellation.cancel).start()

    with pytest.raises(Stopped):
        way.puller.ensure(request(), way.listing, stop_when_begun, way.cancellation)
    assert way.states == ["PULLING"]
    assert way.engine.streams[0].closed


def test_cancelling_ends_the_wait_for_the_next_attempt(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine(failure()), Config(retry=RetryConfig(3600, 3600)))

    def stop_at_retry(update: ImageUpdate) -> None:
        way.updates.append(update)
        if update.state is ImageState.RETRYING:
            way.cancellation.cancel()

    with pytest.raises(Stopped):
        way.puller.ensure(request(), way.listing, stop_at_retry, way.cancellation)
    assert way.states == ["PULLING", "RETRYING"]


def test_what_was_cancelled_before_does_not_begin(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine())
    way.cancellation.cancel()
    with pytest.raises(Stopped):
        way.ensure(request())
    assert (way.updates, way.engine.listings) == ([], 0)


def test_private_ecr_is_pulled_with_a_token(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine())
    assert way.ensure(request(f"{ECR}/app:1")).state is ImageState.READY
    assert way.engine.pulls == [(f"{ECR}/app:1", Credential("AWS", "token-1"), None)]


def test_a_token_that_a_pull_refuses_is_replaced_within_the_attempt(tmp_path: Path) -> None:
    refused = failure(ErrorCode.DOCKER_LOGIN_ERROR, Retry.NEVER, refused=True)
    way = Way(tmp_path, FakeEngine(refused, pulled()))
    update = way.ensure(request(f"{ECR}/app:1"))
    assert (update.state, update.attempt) == (ImageState.READY, 1)
    assert [credential and credential.password for _, credential, _ in way.engine.pulls] == [
        "token-1",
        "token-2",
    ]


def test_a_fresh_token_that_is_refused_too_is_final(tmp_path: Path) -> None:
    refused = failure(ErrorCode.DOCKER_LOGIN_ERROR, Retry.NEVER, refused=True)
    way = Way(tmp_path, FakeEngine(refused))
    assert way.ensure(request(f"{ECR}/app:1")).error is refused
    assert len(way.engine.pulls) == 2


def test_a_registry_that_wants_a_login_and_has_none_is_final(tmp_path: Path) -> None:
    refused = failure(ErrorCode.DOCKER_LOGIN_ERROR, Retry.NEVER, refused=True)
    way = Way(tmp_path, FakeEngine(refused), was_reached=False)
    assert way.ensure(request("quay.io/app:1")).error is refused
    assert (len(way.engine.pulls), way.aws.tokens) == (1, 0)


def test_a_registry_that_served_us_before_is_believed_to_have_trouble(tmp_path: Path) -> None:
    """Engine 20.10 says "unauthorized" for a 503 or 429 of a registry's first answer."""
    refused = failure(ErrorCode.DOCKER_LOGIN_ERROR, Retry.NEVER, refused=True)
    way = Way(tmp_path, FakeEngine(refused, pulled()), was_reached=True)
    assert way.ensure(request("quay.io/app:1")).state is ImageState.READY
    assert way.aws.tokens == 0


def test_no_more_pulls_at_once_than_configured(tmp_path: Path) -> None:
    lock, inside, most = threading.Lock(), 0, 0
    everybody_waits = threading.Event()

    def hold(stream: FakeStream) -> Iterator[Event]:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
            if inside == 2:
                everybody_waits.set()
        assert everybody_waits.wait(30)
        with lock:
            inside -= 1
        yield layer("Waiting")
        raise failure(ErrorCode.DOCKER_IMAGE_NOT_VALID, Retry.NEVER)

    engine = FakeEngine(hold)
    way = Way(tmp_path, engine, Config(max_concurrent_pulls=2))
    threads = [
        threading.Thread(target=way.ensure, args=(request(f"app-{number}:1"),))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (most, len(engine.pulls)) == (2, 8)


def test_a_listing_is_asked_for_once_and_again_after_a_failure() -> None:
    engine = FakeEngine()
    engine.listing_failures = [failure(ErrorCode.DOCKER_SERVICE_UNAVAILABLE)]
    listing = Listing(engine)
    assert engine.listings == 0
    with pytest.raises(DockermgrError):
        listing.load()
    reference = request().reference
    assert (listing.find(reference), listing.find(reference)) == (None, None)
    assert engine.listings == 2


@pytest.mark.parametrize("retry", [Retry.LIMITED, Retry.UNTIL_MENDED])
def test_always_never_makes_what_is_here_unusable(retry: Retry, tmp_path: Path) -> None:
    error = failure(ErrorCode.DOCKER_PULL_ERROR, retry)
    gone = failure(ErrorCode.DOCKER_PULL_ERROR, Retry.LIMITED)
    engine = FakeEngine(error, gone)
    wanted = request(policy=PullPolicy.ALWAYS)
    present = engine.add(wanted.reference)
    way = Way(tmp_path, engine)
    update = way.ensure(wanted)
    assert (update.state, update.image, update.error) == (ImageState.READY, present, gone)
    assert update.digest == DIGEST
    assert way.recorded == []


def test_after_a_defect_of_ours_the_next_image_of_the_registry_is_pulled(tmp_path: Path) -> None:
    def broken(stream: FakeStream) -> Iterator[Event]:
        raise ValueError("a defect")

    way = Way(tmp_path, FakeEngine(failure(), broken, pulled()))
    with pytest.raises(ValueError, match="a defect"):
        way.ensure(request())
    assert way.ensure(request()).state is ImageState.READY


def test_what_is_here_is_not_held_up_by_a_registry_that_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puller, "CHECK_SECONDS", 0.02)
    warned = threading.Event()

    def late(stream: FakeStream) -> Iterator[Event]:
        assert warned.wait(30)
        yield from pulled()

    engine = FakeEngine(late)
    wanted = request(policy=PullPolicy.ALWAYS)
    present = engine.add(wanted.reference)
    way = Way(tmp_path, engine)

    def release_when_warned(update: ImageUpdate) -> None:
        way.updates.append(update)
        if update.error is not None:
            warned.set()

    last = way.puller.ensure(wanted, way.listing, release_when_warned, way.cancellation)
    (warning,) = [update for update in way.updates if update.error is not None]
    assert (warning.state, warning.image, warning.digest) == (ImageState.READY, present, DIGEST)
    assert warning.error is not None
    assert warning.error.code is ErrorCode.NETWORK_ERROR
    assert "docker.io has not answered for 0.02 s" in warning.error.message
    # The question itself went on.
    assert way.states == ["PULLING", "READY", "PULLING", "READY"]
    assert (last.error, last.attempt, len(engine.pulls)) == (None, 1, 1)
    assert not engine.streams[0].aborted.is_set()


def test_what_is_not_here_is_not_ready_while_the_registry_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puller, "CHECK_SECONDS", 0.01)
    config = Config(retry=QUICK, timeouts=TimeoutConfig(first_byte_seconds=0.1))
    way = Way(tmp_path, FakeEngine(silent, pulled()), config)
    way.ensure(request(policy=PullPolicy.ALWAYS))
    assert way.states == ["PULLING", "RETRYING", "PULLING", "READY"]
    (stalled,) = [update.error for update in way.updates if update.error is not None]
    assert stalled.code is ErrorCode.PULL_STALLED


def of_another_architecture(engine: FakeEngine, wanted: ImageRequest) -> LocalImage:
    """Puts what somebody else loaded in the place of `wanted`."""
    engine.image_platform = "linux/arm64"
    found = engine.add(wanted.reference)
    engine.image_platform = PLATFORM
    return found


def test_an_image_of_another_architecture_is_replaced(tmp_path: Path) -> None:
    engine, wanted = FakeEngine(), request()
    of_another_architecture(engine, wanted)
    way = Way(tmp_path, engine, is_ours=False)
    update = way.ensure(wanted)
    assert (update.state, update.error) == (ImageState.READY, None)
    assert update.image is not None
    assert update.image.platform == PLATFORM
    assert len(engine.pulls) == 1


@pytest.mark.parametrize("retry", [Retry.NEVER, Retry.LIMITED])
def test_an_image_of_another_architecture_that_cannot_be_replaced_stays_usable(
    retry: Retry, tmp_path: Path
) -> None:
    error = failure(ErrorCode.DOCKER_PULL_ERROR, retry)
    engine, wanted = FakeEngine(error), request()
    found = of_another_architecture(engine, wanted)
    way = Way(tmp_path, engine, is_ours=False)
    update = way.ensure(wanted)
    assert (update.state, update.image, update.error) == (ImageState.READY, found, error)
    assert way.recorded == []


def test_never_takes_an_image_of_another_architecture_as_it_is(tmp_path: Path) -> None:
    engine, wanted = FakeEngine(), request(policy=PullPolicy.NEVER)
    found = of_another_architecture(engine, wanted)
    update = Way(tmp_path, engine, is_ours=False).ensure(wanted)
    assert (update.state, update.image, update.error) == (ImageState.READY, found, None)
    assert engine.pulls == []


def test_never_does_not_take_another_platform_than_was_asked_for(tmp_path: Path) -> None:
    engine, wanted = FakeEngine(), request(policy=PullPolicy.NEVER, platform=PLATFORM)
    of_another_architecture(engine, wanted)
    assert Way(tmp_path, engine, is_ours=False).ensure(wanted).state is ImageState.FAILED


def unresolved() -> DockermgrError:
    return DockermgrError(ErrorCode.NETWORK_ERROR, "no such host", unresolved_name=True)


def test_a_name_that_never_resolved_is_taken_for_a_typing_error(tmp_path: Path) -> None:
    way = Way(tmp_path, FakeEngine(unresolved()), was_reached=False)
    error = way.ensure(request("qauy.io/app:1")).error
    assert error is not None
    assert "did you mean quay.io?" in error.hint


def test_a_name_that_resolved_before_is_no_typing_error(tmp_path: Path) -> None:
    error = unresolved()
    assert Way(tmp_path, FakeEngine(error)).ensure(request("qauy.io/app:1")).error is error


class WatchedCancellation(Cancellation):
    """Tells when somebody waits on it."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_on = threading.Event()

    def wait(self, seconds: float) -> None:
        self.waited_on.set()
        super().wait(seconds)


def after_another_process(
    folder: Path,
    engine: FakeEngine,
    wanted: ImageRequest,
    finish: Callable[[], Iterable[Event]],
) -> Way:
    """The way of an image that another process was pulling, and that `finish` ended.

    Two pullers with the same folder of locks are as good as two processes: the kernel's locks are
    those of an opened file.
    """
    begun, go = threading.Event(), threading.Event()

    def hold(stream: FakeStream) -> Iterator[Event]:
        begun.set()
        assert go.wait(30)
        yield from finish()

    engine.outcomes = [hold, pulled()]
    other, way = Way(folder, engine), Way(folder, engine)
    cancellation = way.cancellation = WatchedCancellation()
    with ThreadPoolExecutor(2) as pool:
        pulling = pool.submit(other.ensure, wanted)
        assert begun.wait(30)
        waiting = pool.submit(way.ensure, wanted)
        assert cancellation.waited_on.wait(30)
        go.set()
        pulling.result(30)
        assert waiting.result(30).state is ImageState.READY
    return way


@pytest.fixture
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOOK_AGAIN_SECONDS", 0.005)


@pytest.mark.usefixtures("_look_often")
def test_what_another_process_pulled_is_taken_over(tmp_path: Path) -> None:
    engine, wanted = FakeEngine(), request()

    def finish() -> Iterable[Event]:
        engine.add(wanted.reference)
        return pulled()

    way = after_another_process(tmp_path, engine, wanted, finish)
    assert way.states == ["READY"]
    assert len(engine.pulls) == 1
    assert way.recorded == [(wanted, way.updates[-1].image)]


@pytest.mark.usefixtures("_look_often")
def test_what_another_process_failed_to_pull_is_pulled(tmp_path: Path) -> None:
    engine, wanted = FakeEngine(), request()

    def finish() -> Iterable[Event]:
        raise failure(ErrorCode.DOCKER_IMAGE_NOT_VALID, Retry.NEVER)

    way = after_another_process(tmp_path, engine, wanted, finish)
    assert way.states == ["PULLING", "READY"]
    assert len(engine.pulls) == 2


@pytest.mark.usefixtures("_look_often")
@pytest.mark.parametrize(("image_id", "pulls"), [("sha256:newer", 1), ("sha256:id", 2)])
def test_always_takes_only_a_newer_image_over_from_another_process(
    image_id: str, pulls: int, tmp_path: Path
) -> None:
    engine, wanted = FakeEngine(), request(policy=PullPolicy.ALWAYS)
    engine.add(wanted.reference)

    def finish() -> Iterable[Event]:
        engine.add(wanted.reference, image_id)
        return pulled()

    way = after_another_process(tmp_path, engine, wanted, finish)
    assert len(engine.pulls) == pulls
    assert way.updates[-1].error is None


def test_a_failure_of_the_network_tells_that_the_engine_goes_another_way(tmp_path: Path) -> None:
    """And one that is not the network's does not."""
    for code, told in ((ErrorCode.NETWORK_ERROR, True), (ErrorCode.DOCKER_IMAGE_NOT_VALID, False)):
        engine = FakeEngine(failure(code, Retry.NEVER))
        engine.https_proxy = "http://proxy.example.com:3128"
        update = Way(tmp_path, engine).ensure(request())

        assert update.error is not None
        assert ("the engine through the proxy http://proxy" in update.error.hint) is told
