"""Who may try what has failed, and when."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from dockermgr import retry
from dockermgr.cancellation import Cancellation
from dockermgr.config import RetryConfig
from dockermgr.errors import DockermgrError, ErrorCode, Retry, Stopped
from dockermgr.gates import Gates, Ticket

# Hundredths of seconds: who waits looks at the clock again that often, also at one that stands still.
FIRST_WAIT = 0.01
CONFIG = RetryConfig(initial_seconds=FIRST_WAIT, max_seconds=100)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gates(clock: Clock) -> Gates:
    return Gates(clock)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as made:
        yield made


@pytest.fixture(autouse=True)
def _longest_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """No chance in the waits: each is the longest of its kind."""
    monkeypatch.setattr(retry, "LEAST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr("dockermgr.retry.random.uniform", lambda least, most: most)


def failure(message: str = "away", retry_after_seconds: float | None = None) -> DockermgrError:
    return DockermgrError(
        ErrorCode.NETWORK_ERROR,
        message,
        retry=Retry.UNTIL_MENDED,
        retry_after_seconds=retry_after_seconds,
    )


class Visitor:
    """Enters in a thread of its own, and remembers what it is told while it waits."""

    def __init__(self, gates: Gates, pool: ThreadPoolExecutor, name: str = "registry") -> None:
        self.cancellation = Cancellation()
        self.told: list[tuple[DockermgrError, float]] = []
        self._condition = threading.Condition()
        self.ticket: Future[Ticket] = pool.submit(
            gates.enter, name, self.cancellation, self._still_closed
        )

    def _still_closed(self, error: DockermgrError, seconds: float) -> None:
        with self._condition:
            self.told.append((error, seconds))
            self._condition.notify_all()

    def wait_until_told(self, times: int = 1) -> None:
        with self._condition:
            assert self._condition.wait_for(lambda: len(self.told) >= times, 30)


def enter(gates: Gates, name: str = "registry") -> Ticket:
    """Enters where there is nothing to wait for."""

    def still_closed(error: DockermgrError, seconds: float) -> None:
        raise AssertionError(f"closed for {seconds} s: {error}")

    return gates.enter(name, Cancellation(), still_closed)


def first_of(
    tickets: Iterable[Future[Ticket]],
) -> tuple[set[Future[Ticket]], set[Future[Ticket]]]:
    """Who is in as soon as anybody is, and the others."""
    done, waiting = futures.wait(tickets, 30, futures.FIRST_COMPLETED)
    return done, waiting


def close(gates: Gates, clock: Clock) -> float:
    """Has an attempt fail; the seconds until the next one."""
    ticket = enter(gates)
    clock.now += 1
    return gates.failed("registry", ticket, failure(), CONFIG)


def test_what_has_not_failed_is_open_to_everybody(gates: Gates, clock: Clock) -> None:
    for _ in range(3):
        assert enter(gates) == Ticket(clock.now, first=False)
        gates.succeeded("registry")
        gates.left("registry", Ticket(clock.now, first=False))


def test_who_comes_to_a_closed_gate_is_told_why_and_for_how_long(
    gates: Gates, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    ticket, error = enter(gates), failure()
    assert gates.failed("registry", ticket, error, CONFIG) == pytest.approx(FIRST_WAIT)
    visitor = Visitor(gates, pool)
    visitor.wait_until_told()
    ((told, seconds),) = visitor.told
    assert told is error
    assert seconds == pytest.approx(FIRST_WAIT)
    clock.now += FIRST_WAIT
    assert visitor.ticket.result(30).first
    assert len(visitor.told) == 1


def test_the_first_one_through_tries_and_its_success_frees_all(
    gates: Gates, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    wait = close(gates, clock)
    visitors = [Visitor(gates, pool) for _ in range(10)]
    for visitor in visitors:
        visitor.wait_until_told()
    clock.now += wait
    tickets = (visitor.ticket for visitor in visitors)
    (first,), others = first_of(tickets)
    assert first.result().first
    gates.succeeded("registry")
    assert [ticket.result(30).first for ticket in others] == [False] * 9
    assert not enter(gates).first


def test_the_firsts_failure_closes_the_gate_again_and_for_longer(
    gates: Gates, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    wait = close(gates, clock)
    for failures in (2, 3, 4):
        clock.now += wait
        first = enter(gates)
        assert first.first
        behind = Visitor(gates, pool)
        error = failure(f"failure {failures}")
        wait = gates.failed("registry", first, error, CONFIG)
        assert wait == pytest.approx(FIRST_WAIT * 2 ** (failures - 1))
        behind.wait_until_told()
        assert behind.told[-1][0] is error
        behind.cancellation.cancel()
        with pytest.raises(Stopped):
            behind.ticket.result(30)


def test_who_waits_is_told_of_each_further_failure(
    gates: Gates, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    close(gates, clock)
    visitor = Visitor(gates, pool)
    visitor.wait_until_told()
    another = Ticket(clock.now, first=False)  # of who came another way, after it was closed
    gates.failed("registry", another, failure("away, too"), CONFIG)
    visitor.wait_until_told(times=2)
    visitor.cancellation.cancel()
    with pytest.raises(Stopped):
        visitor.ticket.result(30)
    assert [error.message for error, _ in visitor.told] == ["away", "away, too"]
    waits = [seconds for _, seconds in visitor.told]
    assert waits == pytest.approx([FIRST_WAIT, 2 * FIRST_WAIT])


def test_a_success_ends_the_count(gates: Gates, clock: Clock) -> None:
    wait = close(gates, clock)
    clock.now += wait
    enter(gates)
    gates.succeeded("registry")
    assert close(gates, clock) == pytest.approx(FIRST_WAIT)


def test_several_that_were_inside_count_as_one_failure(gates: Gates, clock: Clock) -> None:
    inside = [enter(gates) for _ in range(3)]
    clock.now += 1
    wait = gates.failed("registry", inside[0], failure(), CONFIG)
    clock.now += wait / 2
    rest = [gates.failed("registry", ticket, failure(), CONFIG) for ticket in inside[1:]]
    assert rest == pytest.approx([wait / 2] * 2)
    clock.now += wait
    assert gates.failed("registry", inside[1], failure(), CONFIG) == 0
    assert gates.failed("registry", enter(gates), failure(), CONFIG) == pytest.approx(2 * wait)


def test_what_the_registry_asks_for_is_waited_for(gates: Gates) -> None:
    ticket = enter(gates)
    error = failure(retry_after_seconds=60)
    assert gates.failed("registry", ticket, error, CONFIG) >= 60


def test_a_first_one_that_leaves_hands_over_to_the_next(
    gates: Gates, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    wait = close(gates, clock)
    clock.now += wait
    inside = enter(gates)
    assert inside.first
    visitors = [Visitor(gates, pool) for _ in range(5)]
    waiting = {visitor.ticket for visitor in visitors}
    for _ in visitors:
        gates.left("registry", inside)
        (next_one,), waiting = first_of(waiting)
        inside = next_one.result()
        assert inside.first
    assert not waiting


def test_a_straggler_that_leaves_lets_no_second_one_through(
    gates: Gates, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    straggler = enter(gates)
    wait = close(gates, clock)
    clock.now += wait
    first = enter(gates)
    assert first.first
    second = Visitor(gates, pool)
    gates.left("registry", straggler)
    assert not second.ticket.done()
    gates.succeeded("registry")
    assert not second.ticket.result(10).first


def test_who_is_cancelled_behind_a_closed_gate_or_behind_the_first_one_stops(
    gates: Gates, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    wait = close(gates, clock)
    for first_is_inside in (False, True):
        if first_is_inside:
            clock.now += wait
            first = enter(gates)
            assert first.first
        visitor = Visitor(gates, pool)
        if not first_is_inside:
            visitor.wait_until_told()
        visitor.cancellation.cancel()
        with pytest.raises(Stopped):
            visitor.ticket.result(30)
    gates.left("registry", first)
    assert enter(gates).first


def test_other_gates_are_not_touched(gates: Gates, clock: Clock) -> None:
    wait = close(gates, clock)
    assert not enter(gates, "another registry").first
    gates.succeeded("another registry")
    gates.left("another registry", Ticket(clock.now, first=False))
    clock.now += wait
    assert enter(gates).first
