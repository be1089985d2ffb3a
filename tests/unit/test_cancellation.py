"""A request to stop reaches everybody who waits."""

from __future__ import annotations

import threading

import pytest

from dockermgr.cancellation import Cancellation
from dockermgr.errors import Stopped


def test_nothing_happens_until_it_is_cancelled() -> None:
    cancellation = Cancellation()
    assert not cancellation.cancelled
    cancellation.check()
    cancellation.wait(0)


def test_once_cancelled_everything_ends() -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    assert cancellation.cancelled
    with pytest.raises(Stopped):
        cancellation.check()
    with pytest.raises(Stopped):
        cancellation.wait(3600)


def test_every_waiter_is_woken() -> None:
    cancellation = Cancellation()
    ended: list[bool] = []

    def wait() -> None:
        with pytest.raises(Stopped):
            cancellation.wait(60)
        ended.append(True)

    threads = [threading.Thread(target=wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    cancellation.cancel()
    for thread in threads:
        thread.join(30)
    assert len(ended) == 20


def test_each_callback_is_called_once_within_its_block() -> None:
    cancellation = Cancellation()
    called: list[str] = []
    with cancellation.calling(lambda: called.append("left")):
        pass
    with (
        cancellation.calling(lambda: called.append("first")),
        cancellation.calling(lambda: called.append("second")),
    ):
        assert called == []
        cancellation.cancel()
        cancellation.cancel()
    assert called == ["first", "second"]


def test_a_callback_that_comes_late_is_called_at_once() -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    called: list[bool] = []
    with cancellation.calling(lambda: called.append(True)):
        assert called == [True]


def test_a_block_that_fails_takes_its_callback_along() -> None:
    cancellation = Cancellation()
    called: list[bool] = []
    with (
        pytest.raises(ValueError, match="broken"),
        cancellation.calling(lambda: called.append(True)),
    ):
        raise ValueError("broken")
    cancellation.cancel()
    assert called == []


def test_the_same_callback_may_be_registered_twice() -> None:
    cancellation = Cancellation()
    called: list[bool] = []

    def callback() -> None:
        called.append(True)

    with cancellation.calling(callback):
        with cancellation.calling(callback):
            pass
        cancellation.cancel()
    assert called == [True]


def test_a_callback_may_use_the_cancellation() -> None:
    cancellation = Cancellation()
    seen: list[bool] = []
    with cancellation.calling(lambda: seen.append(cancellation.cancelled)):
        cancellation.cancel()
    assert seen == [True]
