"""Many ask, one call is made, all get its answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dockermgr.singleflight import SingleFlight


def test_one_after_the_other_each_call_is_made() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    calls = iter(range(10))
    assert [flights.run("key", lambda: next(calls)) for _ in range(3)] == [0, 1, 2]


def test_all_who_ask_meanwhile_get_the_one_answer() -> None:
    flights: SingleFlight[str, object] = SingleFlight()
    answer, calls, go = object(), [], threading.Event()

    def call() -> object:
        calls.append(1)
        go.wait(30)
        return answer

    with ThreadPoolExecutor(50) as pool:
        first = pool.submit(flights.run, "key", call)
        while not calls:
            pass
        others = [pool.submit(flights.run, "key", call) for _ in range(49)]
        while sum(future.running() for future in others) < 49:
            pass
        go.set()
        found = [future.result(30) for future in [first, *others]]
    # A thread that had started but not asked yet may have come too late for the first call.
    assert len(calls) <= 2
    assert all(item is answer for item in found)


def test_keys_do_not_wait_for_each_other() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    assert flights.run("a", lambda: flights.run("b", lambda: "inner")) == "inner"


def test_a_failure_reaches_all_who_ask_and_is_not_kept() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    begun, go = threading.Event(), threading.Event()

    def fail() -> int:
        begun.set()
        go.wait(30)
        raise ValueError("broken")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.run, "key", fail)
        assert begun.wait(30)
        second = pool.submit(flights.run, "key", fail)
        while not second.running():
            pass
        go.set()
        for future in (first, second):
            with pytest.raises(ValueError, match="broken"):
                future.result(30)
    assert flights.run("key", lambda: 1) == 1


def test_even_an_exit_does_not_leave_the_others_waiting() -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    def leave() -> int:
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        flights.run("key", leave)
    assert flights.run("key", lambda: 1) == 1
