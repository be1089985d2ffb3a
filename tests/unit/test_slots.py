"""No more at once than allowed; who waits can be stopped; the limit may change meanwhile."""

from __future__ import annotations

import threading

import pytest

from dockermgr.cancellation import Cancellation
from dockermgr.errors import Stopped
from dockermgr.slots import Slots


class Worker:
    """A thread that takes a slot and holds it until told to leave."""

    def __init__(self, slots: Slots) -> None:
        self.cancellation = Cancellation()
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.stopped = False
        self._slots = slots
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            with self._slots.one(self.cancellation):
                self.entered.set()
                self.leave.wait(30)
        except Stopped:
            self.stopped = True

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def entered(workers: list[Worker]) -> list[Worker]:
    return [worker for worker in workers if worker.entered.wait(0.05)]


def test_no_more_than_the_limit_are_in_at_once() -> None:
    slots, lock = Slots(3), threading.Lock()
    inside = most = 0
    done = 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(20):
            with slots.one(Cancellation()):
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1
                    done += 1

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert done == 200
    assert 1 <= most <= 3


def test_a_slot_that_is_free_again_is_taken() -> None:
    slots = Slots(1)
    first = Worker(slots)
    assert first.entered.wait(30)
    second = Worker(slots)
    assert entered([second]) == []
    first.leave.set()
    assert second.entered.wait(30)
    second.leave.set()
    first.join()
    second.join()


def test_a_failure_gives_the_slot_back() -> None:
    slots = Slots(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), slots.one(Cancellation()):
            raise ValueError("broken")
    with slots.one(Cancellation()):
        pass


def test_a_larger_limit_lets_those_who_wait_in() -> None:
    slots = Slots(1)
    workers = [Worker(slots) for _ in range(3)]
    assert len(entered(workers)) == 1
    slots.resize(3)
    assert all(worker.entered.wait(30) for worker in workers)
    for worker in workers:
        worker.leave.set()
        worker.join()


def test_a_smaller_limit_counts_for_the_next_ones() -> None:
    slots = Slots(2)
    running = [Worker(slots), Worker(slots)]
    assert all(worker.entered.wait(30) for worker in running)
    slots.resize(1)
    waiting = Worker(slots)
    running[0].leave.set()
    running[0].join()
    assert entered([waiting]) == []
    running[1].leave.set()
    assert waiting.entered.wait(30)
    waiting.leave.set()
    waiting.join()


def test_who_waits_can_be_stopped_and_takes_no_slot_along() -> None:
    slots = Slots(1)
    holder = Worker(slots)
    assert holder.entered.wait(30)
    waiting = [Worker(slots) for _ in range(3)]
    for worker in waiting[:2]:
        worker.cancellation.cancel()
        worker.join()
        assert worker.stopped
        assert not worker.entered.is_set()
    holder.leave.set()
    assert waiting[2].entered.wait(30)
    waiting[2].leave.set()
    waiting[2].join()


def test_who_was_stopped_before_gets_no_free_slot() -> None:
    slots, cancellation = Slots(1), Cancellation()
    cancellation.cancel()
    with pytest.raises(Stopped), slots.one(cancellation):
        pytest.fail("it was cancelled")
    with slots.one(Cancellation()):
        pass


def test_a_freed_slot_is_not_lost_to_somebody_who_is_stopped_just_then() -> None:
    for _ in range(50):
        slots = Slots(1)
        holder = Worker(slots)
        assert holder.entered.wait(30)
        stopped, waiting = Worker(slots), Worker(slots)
        canceller = threading.Thread(target=stopped.cancellation.cancel)
        canceller.start()
        holder.leave.set()
        stopped.leave.set()
        assert waiting.entered.wait(30)
        waiting.leave.set()
        canceller.join(30)
        for worker in (holder, stopped, waiting):
            worker.join()
