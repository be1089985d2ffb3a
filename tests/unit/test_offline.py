"""How much is tried while a device is offline: ten minutes of it, on a clock that the test moves."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockermgr import retry
from dockermgr.cancellation import Cancellation
from dockermgr.config import Config, RetryConfig
from dockermgr.credentials import Credentials, EcrTokens
from dockermgr.ecr import EcrToken
from dockermgr.errors import Stopped
from dockermgr.gates import Gates
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.listing import Listing
from dockermgr.locks import ImageLocks
from dockermgr.puller import Memory, Puller
from tests.unit.test_puller import ECR, FakeEngine, failure, request

HOSTS = (ECR, "registry.example.com", "docker.io", "quay.io")
IMAGES = 20
EACH = IMAGES // len(HOSTS)
OFFLINE_SECONDS = 600


class AwsAway:
    """Each call would be a process."""

    def __init__(self) -> None:
        self.asked = 0

    def fetch(self, region: str, *, fips: bool) -> EcrToken:
        self.asked += 1
        raise failure()


class Offline:
    """A puller whose engine reaches nobody, and the clock of its gates."""

    def __init__(self, folder: Path, config: RetryConfig) -> None:
        self.now = 0.0
        self.aws = AwsAway()
        self.engine = FakeEngine(failure())
        memory = Memory(lambda *_: None, is_ours=lambda _: True, was_reached=lambda _: True)
        signing_in = Credentials(EcrTokens(self.aws), lambda host, credential: None)
        self._puller = Puller(self.engine, signing_in, memory, ImageLocks(folder))
        self._puller.configure(Config(retry=config))
        self._gates = self._puller._gates = Gates(self._clock)
        self._ticks = itertools.count(1)
        self._changed = threading.Condition()
        self._retrying: set[str] = set()

    def _clock(self) -> float:
        # A clock never says the same twice: the gates tell by it who was inside before whom.
        return self.now + next(self._ticks) * 1e-6

    def ensure(self, image: str, cancellation: Cancellation) -> None:
        def report(update: ImageUpdate) -> None:
            if update.state is ImageState.RETRYING:
                with self._changed:
                    self._retrying.add(image)
                    self._changed.notify_all()

        with pytest.raises(Stopped):
            self._puller.ensure(request(image), Listing(self.engine), report, cancellation)

    def wait_until_all_wait(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._retrying) == IMAGES, 30)

    def attempts(self) -> Counter[str]:
        """Pulls that the engine was asked for, and tokens, by registry."""
        pulls = Counter(reference.partition("/")[0] for reference, *_ in self.engine.pulls)
        return pulls + Counter({ECR: self.aws.asked})

    def pass_time(self, seconds: float) -> None:
        """Opens gate after gate when it is due, and waits for what comes of it."""
        end = self.now + seconds
        pause = threading.Event()
        while True:
            gates = self._gates._gates
            name, gate = min(gates.items(), key=lambda item: item[1].opens_at)
            if gate.opens_at > end:
                return
            self.now = gate.opens_at
            self._gates._wake()
            while gates.get(name) is gate:
                pause.wait(0.001)


@pytest.mark.parametrize("share_of_longest", [1.0, 0.5])
def test_ten_minutes_offline_cost_few_attempts_for_each_registry_not_for_each_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share_of_longest: float
) -> None:
    config = RetryConfig()
    monkeypatch.setattr(
        "dockermgr.retry.random.uniform", lambda least, most: share_of_longest * most
    )
    waits = [retry.back_off_seconds(failures, config) for failures in range(1, 100)]
    due = sum(sum(waits[: number + 1]) <= OFFLINE_SECONDS for number in range(len(waits)))
    offline = Offline(tmp_path, config)
    cancellation = Cancellation()

    with ThreadPoolExecutor(IMAGES) as pool:
        images = [f"{host}/team/app-{number}:1" for host in HOSTS for number in range(EACH)]
        done = [pool.submit(offline.ensure, image, cancellation) for image in images]
        try:
            offline.wait_until_all_wait()
            first = offline.attempts()
            offline.pass_time(OFFLINE_SECONDS)
            later = offline.attempts() - first
        finally:
            cancellation.cancel()
        for future in done:
            future.result(30)

    assert all(first[host] <= EACH for host in HOSTS)
    assert later == Counter(dict.fromkeys(HOSTS, due))
    assert due <= 12  # 9 when each wait is the longest, 11 when it is the mean
