"""When and how long to wait before a failed call is tried again.

Predecessor: the step option ``retry=``; successor: the runtime, which asks ``should_retry`` and
``delay``. Pure: the source of randomness is passed in, and nobody sleeps here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sage.common.errors import GraphError

_MAPPING_KEYS = {
    "max_attempts": "max_attempts",
    "initial_delay": "initial_delay",
    "backoff": "initial_delay",
    "multiplier": "multiplier",
    "max_delay": "max_delay",
    "max_backoff": "max_delay",
    "jitter": "jitter",
    "on": "on",
}


class RetryPolicy:
    """Exponential backoff with jitter.

    The wait before attempt ``n + 1`` is ``initial_delay * multiplier ** (n - 1)`` seconds, at most
    ``max_delay``, of which a random share of up to ``jitter`` is taken off. An exception with a
    ``retry_after`` attribute (seconds, as sent by a server) is never retried earlier than that.

    Args:
        max_attempts: Calls in total, the first included, >= 1.
        initial_delay: Seconds before the second call, >= 0.
        multiplier: Growth of the wait per attempt, >= 1.
        max_delay: Longest computed wait in seconds.
        jitter: Share of the wait that is random, 0..1.
        on: Exception types that are worth another attempt.

    Raises:
        GraphError: An argument is out of range.
    """

    __slots__ = ("initial_delay", "jitter", "max_attempts", "max_delay", "multiplier", "on")

    def __init__(
        self,
        max_attempts: int = 3,
        initial_delay: float = 0.5,
        multiplier: float = 2.0,
        max_delay: float = 30.0,
        jitter: float = 0.5,
        on: type[Exception] | tuple[type[Exception], ...] | list[type[Exception]] = (Exception,),
    ) -> None:
        if isinstance(max_attempts, bool) or not isinstance(max_attempts, int) or max_attempts < 1:
            raise GraphError(
                f"retry: max_attempts must be an int >= 1 (calls in total), got {max_attempts!r}"
            )
        _check_number("initial_delay", initial_delay, 0, None)
        _check_number("multiplier", multiplier, 1, None)
        _check_number("max_delay", max_delay, 0, None)
        _check_number("jitter", jitter, 0, 1)
        kinds = on if isinstance(on, (tuple, list)) else (on,)
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise GraphError(f"retry: 'on' must list exception classes, got {kind!r}")
        self.max_attempts = max_attempts
        self.initial_delay = float(initial_delay)
        self.multiplier = float(multiplier)
        self.max_delay = float(max_delay)
        self.jitter = float(jitter)
        self.on: tuple[type[Exception], ...] = tuple(kinds)

    @classmethod
    def of(cls, value: RetryPolicy | int | Mapping[str, Any] | None) -> RetryPolicy | None:
        """The policy that the step option ``retry`` stands for.

        Args:
            value: A policy; the number of further attempts after the first; or a mapping with
                ``max_attempts``, ``backoff`` (seconds), ``multiplier``, ``max_backoff``
                (seconds), ``jitter`` and ``on``.

        Raises:
            GraphError: The value has another form, or an unknown key.
        """
        if value is None or isinstance(value, RetryPolicy):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            if value < 0:
                raise GraphError(f"retry: the number of retries must be >= 0, got {value}")
            return cls(max_attempts=value + 1) if value else None
        if isinstance(value, Mapping):
            arguments: dict[str, Any] = {}
            for key, given in value.items():
                name = _MAPPING_KEYS.get(key)
                if name is None:
                    from difflib import get_close_matches  # noqa: PLC0415 - only for the message

                    near = get_close_matches(str(key), _MAPPING_KEYS, 1)
                    hint = f"; did you mean {near[0]!r}?" if near else ""
                    raise GraphError(
                        f"retry: unknown key {key!r}{hint} (known: {', '.join(_MAPPING_KEYS)})"
                    )
                if name in arguments:
                    raise GraphError(f"retry: {key!r} repeats {name!r} under another name")
                arguments[name] = given
            return cls(**arguments)
        raise GraphError(
            "retry must be an int (attempts after the first), a mapping or a RetryPolicy, "
            f"got {value!r}"
        )

    def should_retry(self, error: BaseException, attempt: int) -> bool:
        """Whether to call again after attempt number ``attempt`` (1 for the first) failed."""
        return attempt < self.max_attempts and isinstance(error, self.on)

    def delay(
        self,
        attempt: int,
        error: BaseException | None = None,
        random: Callable[[], float] | None = None,
    ) -> float:
        """Seconds to wait after attempt number ``attempt`` (1 for the first) failed.

        Args:
            attempt: The attempt that failed.
            error: What it raised; its ``retry_after`` (seconds) is respected.
            random: Source of numbers in [0, 1); default ``random.random``.
        """
        # The exponent is limited, so that a huge attempt number cannot overflow a float.
        wait = min(self.max_delay, self.initial_delay * self.multiplier ** min(attempt - 1, 64))
        if self.jitter and wait:
            if random is None:
                import random as source  # noqa: PLC0415 - 3 ms at import

                random = source.random
            wait -= wait * self.jitter * random()
        after = getattr(error, "retry_after", None)
        if isinstance(after, (int, float)) and after > wait:
            wait = float(after)
        return wait

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RetryPolicy) and all(
            getattr(self, slot) == getattr(other, slot) for slot in self.__slots__
        )

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, slot) for slot in self.__slots__))

    def __repr__(self) -> str:
        inside = ", ".join(f"{slot}={getattr(self, slot)!r}" for slot in sorted(self.__slots__))
        return f"RetryPolicy({inside})"


def _check_number(name: str, value: Any, low: float, high: float | None) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= low
    if not good or (high is not None and value > high):
        limit = f"between {low} and {high}" if high is not None else f">= {low}"
        raise GraphError(f"retry: {name} must be a number {limit}, got {value!r}")
