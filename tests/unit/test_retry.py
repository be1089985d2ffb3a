"""How long failures are worth trying again, and how long to wait in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.config import RetryConfig
from dockermgr.errors import DockermgrError, ErrorCode, Retry, Stopped
from dockermgr.retry import LEAST_WAIT_SECONDS, RETRY_AFTER_JITTER, back_off_seconds, keep_trying

CONFIG = RetryConfig(initial_seconds=1, max_seconds=300, max_attempts=4)


def failure(retry: Retry, after: float | None = None) -> DockermgrError:
    return DockermgrError(
        ErrorCode.DOCKER_PULL_ERROR, retry.value, retry=retry, retry_after_seconds=after
    )


class Run:
    """`keep_trying` over failures that are given, with sleeps that only are counted."""

    def __init__(self, *failures: Exception, config: RetryConfig = CONFIG) -> None:
        self._failures = list(failures)
        self._config = config
        self.calls = 0
        self.slept: list[float] = []
        self.failures: list[int] = []
        self.told: list[tuple[DockermgrError, float]] = []

    def work(self) -> str:
        self.calls += 1
        if self._failures:
            raise self._failures.pop(0)
        return "done"

    def _wait(self, error: DockermgrError, failures: int) -> float:
        self.failures.append(failures)
        return back_off_seconds(
            failures, self._config, retry_after_seconds=error.retry_after_seconds
        )

    def go(self, sleep: Callable[[float], None] | None = None) -> str:
        return keep_trying(
            self.work,
            self._config,
            wait=self._wait,
            sleep=sleep or self.slept.append,
            on_failure=lambda error, wait: self.told.append((error, wait)),
        )


def test_success_at_once_waits_for_nothing() -> None:
    run = Run()
    assert run.go() == "done"
    assert (run.calls, run.slept, run.told) == (1, [], [])


def test_what_only_a_person_can_mend_is_tried_once() -> None:
    run = Run(failure(Retry.NEVER))
    with pytest.raises(DockermgrError, match="never"):
        run.go()
    assert (run.calls, run.slept, run.told) == (1, [], [])


def test_limited_failures_end_at_the_limit() -> None:
    last = failure(Retry.LIMITED)
    run = Run(*[failure(Retry.LIMITED)] * 3, last, failure(Retry.LIMITED))
    with pytest.raises(DockermgrError) as caught:
        run.go()
    assert caught.value is last
    assert (run.calls, len(run.slept), len(run.told)) == (4, 3, 3)


def test_limited_failures_may_end_well() -> None:
    run = Run(*[failure(Retry.LIMITED)] * 3)
    assert run.go() == "done"
    assert run.calls == 4


def test_the_network_is_waited_for_without_end() -> None:
    run = Run(*[failure(Retry.UNTIL_MENDED)] * 200)
    assert run.go() == "done"
    assert (run.calls, len(run.slept)) == (201, 200)


def test_failures_of_the_network_do_not_use_up_the_attempts() -> None:
    mixed = [failure(Retry.UNTIL_MENDED)] * 50
    run = Run(*mixed, *[failure(Retry.LIMITED)] * 3, *mixed)
    assert run.go() == "done"
    assert run.calls == 104


def test_one_attempt_means_one() -> None:
    run = Run(failure(Retry.LIMITED), config=RetryConfig(max_attempts=1))
    with pytest.raises(DockermgrError):
        run.go()
    assert run.calls == 1


@pytest.mark.parametrize("error", [Stopped(), ValueError("a defect")])
def test_what_is_no_failure_of_ours_passes_through(error: Exception) -> None:
    run = Run(error)
    with pytest.raises(type(error)):
        run.go()
    assert (run.calls, run.told) == (1, [])


def test_sleeping_may_be_ended() -> None:
    def stop(seconds: float) -> None:
        raise Stopped

    run = Run(failure(Retry.UNTIL_MENDED))
    with pytest.raises(Stopped):
        run.go(stop)
    assert run.calls == 1


def test_the_wait_that_is_told_is_the_wait_that_is_slept() -> None:
    run = Run(failure(Retry.LIMITED), failure(Retry.LIMITED, after=40), failure(Retry.LIMITED))
    run.go()
    assert [wait for _, wait in run.told] == run.slept
    assert 40 <= run.slept[1] <= 40 * (1 + RETRY_AFTER_JITTER)
    assert [error.retry_after_seconds for error, _ in run.told] == [None, 40, None]
    assert run.failures == [1, 2, 3]


CONFIGS = st.builds(
    RetryConfig,
    initial_seconds=st.floats(0.1, 1_000),
    max_seconds=st.floats(1_000, 100_000),
)


@given(CONFIGS, st.integers(1, 10_000))
def test_a_wait_has_a_floor_and_a_ceiling(config: RetryConfig, failures: int) -> None:
    wait = back_off_seconds(failures, config)
    assert LEAST_WAIT_SECONDS <= wait <= max(LEAST_WAIT_SECONDS, config.max_seconds)


@given(CONFIGS, st.integers(1, 20))
def test_a_wait_grows_no_faster_than_twofold(config: RetryConfig, failures: int) -> None:
    ceiling = config.initial_seconds * 2 ** (failures - 1)
    assert back_off_seconds(failures, config) <= max(LEAST_WAIT_SECONDS, ceiling)


@given(CONFIGS, st.integers(1, 100), st.floats(0, 3_600))
def test_nobody_comes_back_before_the_time_that_was_asked_for(
    config: RetryConfig, failures: int, after: float
) -> None:
    wait = back_off_seconds(failures, config, retry_after_seconds=after)
    assert wait >= after
    assert wait <= max(LEAST_WAIT_SECONDS, config.max_seconds, after * (1 + RETRY_AFTER_JITTER))


def test_waits_differ() -> None:
    assert len({back_off_seconds(8, CONFIG) for _ in range(20)}) > 1
    assert len({back_off_seconds(1, CONFIG, retry_after_seconds=100) for _ in range(20)}) > 1
