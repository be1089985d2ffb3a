"""When to try again: tenacity, told by our errors how long a failure is worth it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import tenacity

from dockermgr.config import RetryConfig
from dockermgr.errors import DockermgrError, Retry

T = TypeVar("T")

LEAST_WAIT_SECONDS = 0.5
"""Full jitter alone may give almost nothing, and a fleet that does that is a storm."""
RETRY_AFTER_JITTER = 0.1
"""On top of what a registry asked for, so that not everybody comes back in the same instant."""


def back_off_seconds(
    failures: int, config: RetryConfig, *, retry_after_seconds: float | None = None
) -> float:
    """The wait after the `failures`-th failure in a row (from 1): exponential, with full jitter.

    "Exponential Backoff And Jitter", AWS Architecture Blog. Never less than the other side asked for.
    """
    # Beyond 2**30 every sensible maximum has been reached, and floats stay far from overflowing.
    ceiling = min(config.max_seconds, config.initial_seconds * 2 ** min(failures - 1, 30))
    wait = max(LEAST_WAIT_SECONDS, random.uniform(0, ceiling))  # noqa: S311
    if retry_after_seconds is not None:
        asked = retry_after_seconds * random.uniform(1, 1 + RETRY_AFTER_JITTER)  # noqa: S311
        wait = max(wait, asked)
    return wait


def keep_trying(
    work: Callable[[], T],
    config: RetryConfig,
    *,
    wait: Callable[[DockermgrError, int], float],
    sleep: Callable[[float], None],
    on_failure: Callable[[DockermgrError, float], None],
) -> T:
    """Calls `work` until it succeeds, or fails in a way that is not worth another attempt.

    `wait(error, failures)` says for how many seconds. `on_failure(error, wait_seconds)` is told of
    each failure that will be tried again. `sleep` may raise to end the waiting. Raises the last error.
    """
    limited_failures = 0

    def worth_it(state: tenacity.RetryCallState) -> bool:
        nonlocal limited_failures
        error = _error_of(state)
        if error is None or not error.retryable:
            return False
        if error.retry is Retry.LIMITED:
            limited_failures += 1
        return limited_failures < config.max_attempts

    def wait_seconds(state: tenacity.RetryCallState) -> float:
        error = _error_of(state)
        return wait(error, state.attempt_number) if error is not None else 0.0

    def tell(state: tenacity.RetryCallState) -> None:
        error = _error_of(state)
        if error is not None and state.next_action is not None:
            on_failure(error, state.next_action.sleep)

    return tenacity.Retrying(
        retry=worth_it, wait=wait_seconds, sleep=sleep, before_sleep=tell, reraise=True
    )(work)


def _error_of(state: tenacity.RetryCallState) -> DockermgrError | None:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, DockermgrError) else None
