"""What to do about one failed call: try again, drop it, write it down, take the fallback, or stop.

Pure decisions; the runtime sleeps, calls and writes. Successor: ``sage.kernel.runtime.deadletter``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

from sage.api.retry import RetryPolicy
from sage.common.errors import GraphError, JobCanceledError
from sage.kernel.graph.model import FunctionSpec, StepOptions

Action = Literal["retry", "fail", "skip", "dead_letter", "fallback"]

ACTIONS: Final = ("fail", "skip", "dead_letter")
"""Values of ``on_error`` that are words; anything else is a fallback operator."""


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


class Decision:
    """What to do now.

    Attributes:
        action: One of ``Action``.
        delay: Seconds to wait first; 0 unless ``action`` is ``"retry"``.
    """

    __slots__ = ("action", "delay")

    def __init__(self, action: Action, delay: float = 0.0) -> None:
        self.action: Action = action
        self.delay = delay

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Decision)
            and self.action == other.action
            and self.delay == other.delay
        )

    def __hash__(self) -> int:
        return hash((self.action, self.delay))

    def __repr__(self) -> str:
        return f"Decision({self.action!r}, delay={self.delay})"


class ErrorPolicy:
    """The error policy of one step: retries first, then ``on_error``.

    Attributes:
        retry: When to try again, or ``None``.
        final: What to do when there is no further attempt.
        fallback: The operator to use then, when ``final`` is ``"fallback"``.
    """

    __slots__ = ("fallback", "final", "retry")

    def __init__(
        self,
        retry: Backoff | None = None,
        final: Action = "fail",
        fallback: FunctionSpec | None = None,
    ) -> None:
        self.retry = retry
        self.final: Action = final
        self.fallback = fallback

    @classmethod
    def of(cls, options: StepOptions) -> ErrorPolicy:
        """The policy that the options of a step stand for.

        Raises:
            GraphError: ``retry`` or ``on_error`` has a form that means nothing.
        """
        retry = RetryPolicy.of(options.retry)
        on_error = options.on_error
        if on_error is None:
            return cls(retry)
        if isinstance(on_error, FunctionSpec):
            return cls(retry, "fallback", on_error)
        if on_error in ACTIONS:
            return cls(retry, on_error)
        raise GraphError(
            f"on_error must be 'fail', 'skip', 'dead_letter' or a fallback step, got {on_error!r}"
        )

    @property
    def trivial(self) -> bool:
        """Whether the first error stops the job: nothing needs to be wrapped around the call."""
        return self.retry is None and self.final == "fail"

    def decide(
        self,
        attempt: int,
        error: BaseException,
        rng: Callable[[], float] | None = None,
    ) -> Decision:
        """What to do after call number ``attempt`` (1 for the first) of an item raised ``error``.

        Errors that are not about the item (a canceled job, ``KeyboardInterrupt``, ``SystemExit``)
        always end in ``"fail"``.
        """
        if not isinstance(error, Exception) or isinstance(error, JobCanceledError):
            return Decision("fail")
        delay = next_delay(self.retry, attempt, error, rng)
        return Decision(self.final) if delay is None else Decision("retry", delay)
