"""When a failed call may be tried again, and when at the earliest.

Pure: the runtime sleeps and calls. Successor: ``sage.kernel.runtime.failure``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sage.common.errors import JobCanceledError


class Backoff(Protocol):
    """The part of ``sage.api.retry.RetryPolicy`` that decisions need."""

    def should_retry(self, error: BaseException, attempt: int) -> bool:
        """Whether to call again after attempt number ``attempt`` failed."""

    def delay(
        self,
        attempt: int,
        error: BaseException | None = None,
        random: Callable[[], float] | None = None,
    ) -> float:
        """Seconds to wait before the next attempt."""


def retry_after(error: BaseException, now: Callable[[], float] | None = None) -> float | None:
    """Seconds the server asked us to wait, from ``error.retry_after`` or its HTTP response.

    Args:
        error: Exceptions of HTTP clients carry ``response.headers`` or ``headers``; the header
            ``Retry-After`` holds seconds or a date, ``Retry-After-Ms`` milliseconds.
        now: Unix seconds, for dates; default ``time.time``.

    Source: RFC 9110 section 10.2.3.
    """
    found = getattr(error, "retry_after", None)
    if found is None:
        headers = getattr(getattr(error, "response", None), "headers", None)
        if headers is None:
            headers = getattr(error, "headers", None)
        if headers is None or not hasattr(headers, "get"):
            return None
        milliseconds = _number(headers.get("retry-after-ms") or headers.get("Retry-After-Ms"))
        if milliseconds is not None:
            return milliseconds / 1000
        found = headers.get("retry-after") or headers.get("Retry-After")
    seconds = _number(found)
    if seconds is not None or not isinstance(found, str):
        return seconds
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - rare and costly
    from time import time  # noqa: PLC0415

    try:
        at = parsedate_to_datetime(found).timestamp()
    except ValueError:
        return None
    return max(0.0, at - (now or time)())


def _number(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


def next_delay(
    policy: Backoff | None,
    attempt: int,
    error: BaseException,
    rng: Callable[[], float] | None = None,
) -> float | None:
    """Seconds to wait before the call is tried again, or ``None`` to give up.

    Args:
        policy: The step's retry policy.
        attempt: How many calls were made for the item, the failed one included, >= 1.
        error: What the last call raised. A canceled job, ``KeyboardInterrupt`` and the like are
            never retried. A wait asked for by the server is a lower bound.
        rng: Source of numbers in [0, 1) for the jitter; default ``random.random``.
    """
    if policy is None or not isinstance(error, Exception) or isinstance(error, JobCanceledError):
        return None
    if not policy.should_retry(error, attempt):
        return None
    delay = policy.delay(attempt, error, rng)
    asked = retry_after(error)
    return delay if asked is None else max(delay, asked)
