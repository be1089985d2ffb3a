"""What goes silent is ended; what speaks is left alone."""

from __future__ import annotations

import threading

import pytest

from dockermgr import watchdog
from dockermgr.watchdog import Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_EVERY_SECONDS", 0.01)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def join(dog: Watchdog) -> None:
    thread = dog._thread
    if thread is not None:
        thread.join(30)
    assert dog._thread is None


def test_what_is_silent_for_too_long_is_aborted_once(clock: Clock) -> None:
    aborted, calls = threading.Event(), []

    def abort() -> None:
        calls.append(1)
        aborted.set()

    dog = Watchdog(clock)
    with dog.watch(abort) as watched:
        watched.expect_within(5, "an answer")
        assert not aborted.wait(0.05)
        clock.now += 4.9
        assert not aborted.wait(0.05)
        clock.now += 0.1
        assert aborted.wait(30)
        assert watched.expired
        assert (watched.limit_seconds, watched.reason) == (5, "an answer")
        clock.now += 100
        join(dog)
    assert calls == [1]


def test_a_sign_of_life_moves_the_deadline(clock: Clock) -> None:
    aborted = threading.Event()
    with Watchdog(clock).watch(aborted.set) as watched:
        for _ in range(5):
            watched.expect_within(5, "more")
            clock.now += 4
            assert not aborted.wait(0.02)
    assert not watched.expired


def test_no_limit_is_no_deadline(clock: Clock) -> None:
    aborted = threading.Event()
    with Watchdog(clock).watch(aborted.set) as watched:
        watched.expect_within(1, "the first answer")
        watched.expect_within(0, "more")
        clock.now += 1_000_000
        assert not aborted.wait(0.05)
        assert watched.deadline is None


def test_what_has_ended_is_not_aborted(clock: Clock) -> None:
    aborted = threading.Event()
    dog = Watchdog(clock)
    with dog.watch(aborted.set) as watched:
        watched.expect_within(5, "more")
    clock.now += 10
    assert not aborted.wait(0.05)
    assert not watched.expired


def test_each_is_watched_for_itself(clock: Clock) -> None:
    dog, first, second = Watchdog(clock), threading.Event(), threading.Event()
    with dog.watch(first.set) as short, dog.watch(second.set) as long:
        short.expect_within(1, "more")
        long.expect_within(100, "more")
        clock.now += 2
        assert first.wait(30)
        assert (short.expired, long.expired) == (True, False)
        clock.now += 100
        assert second.wait(30)


def test_its_thread_lives_only_while_there_is_something_to_watch(clock: Clock) -> None:
    dog = Watchdog(clock)
    assert dog._thread is None
    for _ in range(3):
        with dog.watch(lambda: None):
            thread = dog._thread
            assert thread is not None
            with dog.watch(lambda: None):
                assert dog._thread is thread
        join(dog)


def test_what_cannot_be_ended_does_not_keep_it_from_ending_others(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tried, ended = threading.Event(), threading.Event()

    def broken() -> None:
        tried.set()
        raise ValueError("a defect")

    dog = Watchdog(clock)
    with dog.watch(broken) as first, dog.watch(ended.set) as second:
        first.expect_within(1, "the first answer")
        clock.now += 2
        assert tried.wait(30)
        second.expect_within(1, "more")
        clock.now += 2
        assert ended.wait(30)
    assert "could not end what went silent reason=the first answer" in caplog.text
