"""One limit in use: calls reserve, wait for their turn in order, and settle.

Predecessor: ``sage.kernel.scheduling.cells``; successor: ``sage.kernel.scheduling.registry``.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Final

from sage.kernel.scheduling.bucket import Ticket
from sage.kernel.scheduling.cells import Cell
from sage.kernel.scheduling.gauge import ADOPTED, CONFIGURED, LEARNED, UNKNOWN
from sage.kernel.scheduling.headers import Headers, read_facts
from sage.kernel.scheduling.limits import Limit
from sage.kernel.scheduling.waiting import Turn

LOOK_AGAIN: Final = 0.5
"""Seconds after which the first who waits looks at a bucket that other processes change."""

_ORIGINS: Final = {
    UNKNOWN: None,
    CONFIGURED: "configured",
    ADOPTED: "headers",
    LEARNED: "learned",
}


class Permit(Turn):
    """A call's place in the order. Wait for it, then end it with exactly one of the methods.

    Attributes:
        headers: Those of the response, once there is one (names in lower case or
            case-insensitive): what they say about limits is taken into account at the end.
    """

    def __init__(self, limiter: Limiter, estimate: float, ticket: Ticket, asked: float) -> None:
        super().__init__()
        self._limiter = limiter
        self._estimate = estimate
        self._ticket = ticket
        self._asked = asked
        self._state = "waiting"
        self.headers: Headers = {}

    def _ready(self) -> float | None:
        return self._limiter._try(self)

    def withdraw(self) -> None:
        """Give the place to those behind; nothing happens once the call has started."""
        self._limiter._withdraw(self)

    def settle(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """The call was answered; tokens as the server counted, ``None``: it did not say."""
        self._limiter._settle(self, input_tokens, output_tokens)

    def refused(self, retry_after: float | None) -> None:
        """The server answered 429; ``retry_after``: seconds it asked for."""
        self._limiter._refused(self, retry_after)

    def failed(self, *, spent: bool) -> None:
        """The call failed otherwise.

        Args:
            spent: Whether the server may have worked on it: then what was reserved is spent.
        """
        self._limiter._failed(self, spent)


class Limiter:
    """The limit of one (provider, model, key).

    Args:
        cell: Where its bucket is.
        provider, model: Whose it is.
        key: A short hash that tells keys apart, never the key.
    """

    def __init__(self, cell: Cell, provider: str, model: str, key: str) -> None:
        self.provider, self.model, self.key = provider, model, key
        self._cell = cell
        self._lock = threading.Lock()
        self._queue: deque[Permit] = deque()

    def configure(self, limit: Limit) -> None:
        """Take over configured limits, also for those who wait."""
        with self._cell.open() as bucket:
            bucket.advance(self._cell.clock())
            bucket.configure(limit)
        self._wake_first()

    def expect(self, input_tokens: float, max_output: float | None) -> tuple[int, int]:
        """Input and output tokens to expect of a call; arguments as for ``reserve``."""
        with self._cell.look() as bucket:
            into, out = bucket.expect(input_tokens, max_output)
        return round(into), round(out)

    def reserve(self, input_tokens: float, max_output: float | None = 0) -> Permit:
        """Take a place for a call; it has to be waited for.

        Args:
            input_tokens: A rough estimate of the tokens sent.
            max_output: Most tokens of the answer; ``None``: not known.
        """
        # Places in the queue are in the order of tickets: both are given under one lock.
        with self._lock, self._cell.open() as bucket:
            now = self._cell.clock()
            tokens = sum(bucket.expect(input_tokens, max_output))
            permit = Permit(self, input_tokens, bucket.reserve(tokens, now), now)
            if not self._queue and bucket.wait(permit._ticket, now) == 0:
                bucket.start(permit._ticket, now, 0.0)
                permit._state = "started"
            else:
                self._queue.append(permit)
        return permit

    def snapshot(self) -> dict[str, Any]:
        """Numbers to show: limits per minute and where they come from, calls, tokens, waits."""
        with self._cell.look() as bucket:
            now = self._cell.clock()
            bucket.advance(now)
            facts: dict[str, Any] = {
                "calls": int(bucket.calls),
                "tokens": int(bucket.spent),
                "throttled": int(bucket.throttled),
                "wait_seconds": bucket.waited,
                "blocked_seconds": max(0.0, bucket.blocked - now),
            }
            for name, gauge in (("rpm", bucket.requests), ("tpm", bucket.tokens)):
                limit = gauge.limit * gauge.factor
                facts[name] = limit or None
                facts[f"{name}_from"] = _ORIGINS[gauge.origin]
        return {
            "provider": self.provider,
            "model": self.model,
            "key": self.key,
            "waiting": len(self._queue),
            **facts,
        }

    # ------------------------------------------------------------------ for the permits

    def _try(self, permit: Permit) -> float | None:
        if permit._state != "waiting":
            return 0.0
        with self._lock:
            if self._queue[0] is not permit:
                return None  # the one before wakes it
            with self._cell.open() as bucket:
                now = self._cell.clock()
                seconds = bucket.wait(permit._ticket, now)
                if seconds > 0:
                    return min(seconds, LOOK_AGAIN) if self._cell.shared else seconds
                bucket.start(permit._ticket, now, max(0.0, now - permit._asked))
            permit._state = "started"
            del self._queue[0]
        self._wake_first()
        return 0.0

    def _withdraw(self, permit: Permit) -> None:
        with self._lock:
            if permit._state != "waiting":
                return
            permit._state = "done"
            self._queue.remove(permit)
            with self._cell.open() as bucket:
                bucket.withdraw(permit._ticket, self._cell.clock())
        self._wake_first()

    def _settle(self, permit: Permit, input_tokens: int | None, output_tokens: int | None) -> None:
        known = input_tokens is not None or output_tokens is not None
        used = float((input_tokens or 0) + (output_tokens or 0)) if known else None
        if not self._done(permit):
            return
        with self._cell.open() as bucket:
            bucket.settle(permit._ticket, used, self._cell.clock())
            bucket.learn(permit._estimate, input_tokens, output_tokens)
            bucket.observe(read_facts(permit.headers))
        self._wake_first()

    def _refused(self, permit: Permit, retry_after: float | None) -> None:
        if not self._done(permit):
            return
        with self._cell.open() as bucket:
            now = self._cell.clock()
            bucket.settle(permit._ticket, 0.0, now)  # refused calls cost no tokens
            bucket.refused(read_facts(permit.headers), retry_after, now)
        self._wake_first()

    def _failed(self, permit: Permit, spent: bool) -> None:
        if not self._done(permit):
            return
        with self._cell.open() as bucket:
            bucket.settle(permit._ticket, None if spent else 0.0, self._cell.clock())
        self._wake_first()

    def _done(self, permit: Permit) -> bool:
        done = permit._state == "done"
        permit._state = "done"
        return not done

    def _wake_first(self) -> None:
        # Without the lock: at worst one who has left is woken, and looks for nothing.
        try:
            first = self._queue[0]
        except IndexError:
            return
        first.wake()
