"""When a failed model call is tried again, and after how long. Pure: no clocks, no sleeping."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping

import attrs

RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that say "again later". All other 4xx are the caller's fault and are never retried."""


@attrs.frozen(kw_only=True)
class RetryRule:
    """Exponential back-off with jitter that yields to the server's ``Retry-After``.

    Attributes:
        max_retries: Attempts after the first.
        base: Seconds before the first retry; doubles with each.
        cap: Most seconds between two attempts without ``Retry-After``.
        max_retry_after: A server that asks for a longer wait (seconds) gets no retry: the error
            with its ``retry_after`` goes to the caller, who can plan.
    """

    max_retries: int = 5
    base: float = 0.25
    cap: float = 8.0
    max_retry_after: float = 60.0

    def wait(
        self, *, attempt: int, kind: str, retry_after: float | None, random: float
    ) -> float | None:
        """Seconds to wait before attempt ``attempt + 1``, or ``None`` for "give up".

        Args:
            attempt: Attempts that failed so far, minus one (0 after the first failure).
            kind: ``connection``, ``timeout``, ``http`` or ``body``.
            retry_after: Seconds the server asked for.
            random: A number in ``[0, 1)``.
        """
        if attempt >= self.max_retries:
            return None
        if retry_after is not None:
            if retry_after > self.max_retry_after:
                return None
            # Never earlier than asked; a little later so that all waiters do not return at once.
            return retry_after * (1 + 0.1 * random)
        if kind == "connection" and attempt == 0:
            return 0.0  # most often a kept-alive connection the server had closed meanwhile
        return min(self.cap, self.base * 2.0**attempt) * (0.5 + 0.5 * random)


def retry_after_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds of ``Retry-After-Ms`` or ``Retry-After`` (seconds or an HTTP date), else ``None``.

    Args:
        headers: Response headers, case-insensitive.
        now: Unix seconds, to turn a date into a wait.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            pass
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
        except ValueError:
            continue
    return None
