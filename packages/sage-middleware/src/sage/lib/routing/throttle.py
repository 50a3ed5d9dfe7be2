"""``Throttle``: no more than so many items per second."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import attrs

from sage.api.functions import MapFunction


class Bucket:
    """A token bucket. Pure: it is told the time.

    Args:
        rate: Items per second.
        burst: Items that may pass at once after a pause.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._gap = 1.0 / rate
        self._slack = (burst - 1) * self._gap
        self._next = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds that the item which comes at ``now`` has to wait; its place is taken."""
        due = max(self._next, now - self._slack)
        self._next = due + self._gap
        return max(0.0, due - now)


class Throttle(MapFunction[Any, Any]):
    """Hands items on unchanged, each no sooner than the rate allows; the source feels it.

    Each subtask has a rate of its own. Items leave in the order in which they came.

    Example:
        >>> stream.map(Throttle, {"rate": 5}).map(OpenAIGenerator, {...})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            rate: Items per second.
            burst: Items that may pass at once after a pause.
        """

        rate: float = attrs.field(validator=attrs.validators.gt(0))
        burst: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    def open(self, ctx: Any) -> None:
        """Start with a full bucket."""
        self._bucket = Bucket(self.config.rate, self.config.burst)

    async def execute(self, item: Any) -> Any:
        """The item, when its time has come."""
        wait = self._bucket.wait(time.monotonic())
        if wait:
            await asyncio.sleep(wait)
        return item
