"""What the referee decides: who is within the limits, what a call costs, what goes wrong. Pure.

Predecessor: ``settings``; successor: ``server``.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sage.middleware.testing.referee.settings import RefereeSettings

_WORDS = ("river", "bridge", "market", "signal", "garden", "window", "letter", "engine")


class Allowance:
    """A token bucket as a provider has it: what does not fit is refused, nobody waits.

    Args:
        per_minute: The limit.
        window: Seconds of the limit that it holds.
    """

    def __init__(self, per_minute: float, window: float) -> None:
        self.limit = per_minute
        self.rate = per_minute / 60
        self.capacity = max(1.0, self.rate * window)
        self._level = self.capacity
        self._at: float | None = None

    def lacking(self, units: float, now: float) -> float:
        """Seconds until so many units are there; 0: they are. Infinite for more than it holds."""
        if self._at is not None:
            self._level = min(self.capacity, self._level + (now - self._at) * self.rate)
        self._at = now
        if units > self.capacity:
            return math.inf
        return max(0.0, (units - self._level) / self.rate)

    def take(self, units: float) -> None:
        """Use units (give them back: negative)."""
        self._level = min(self.capacity, self._level - units)

    def headers(self, kind: str) -> dict[str, str]:
        """``x-ratelimit-*`` of ``requests`` or ``tokens``."""
        left = max(0.0, self._level)
        return {
            f"x-ratelimit-limit-{kind}": f"{self.limit:.0f}",
            f"x-ratelimit-remaining-{kind}": f"{math.floor(left)}",
            f"x-ratelimit-reset-{kind}": f"{(self.capacity - left) / self.rate:.3f}s",
        }


class Call:
    """One request as the referee saw it; ``cost`` is there once it was answered."""

    __slots__ = (
        "at", "body", "cost", "fault", "idempotency_key", "input_tokens", "kind", "model", "number",
        "output_tokens", "status",
    )  # fmt: skip

    def __init__(self, number: int, at: float, kind: str, model: str, body: str) -> None:
        self.number = number
        self.at = at
        self.kind = kind
        self.model = model
        self.body = body
        self.idempotency_key: str | None = None
        self.fault = "ok"
        self.status: int | None = None
        self.input_tokens = self.output_tokens = 0
        self.cost: Decimal | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it; money as text."""
        cost = None if self.cost is None else str(self.cost)
        return {**{name: getattr(self, name) for name in self.__slots__}, "cost": cost}


class Books:
    """All calls, and what they add up to.

    Attributes:
        calls: In the order they came.
        bill: What the answered ones cost together.
    """

    def __init__(self, settings: RefereeSettings) -> None:
        self._settings = settings
        self.calls: list[Call] = []
        self.bill = Decimal(0)
        self.statuses: Counter[str] = Counter()
        self.input_tokens = self.output_tokens = self.answered = 0
        self._bodies: Counter[str] = Counter()
        self._keys: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()

    def came(self, call: Call) -> str:
        """Enter a call; returns the fault it meets."""
        self.calls.append(call)
        attempt = self._attempts[call.body]
        self._attempts[call.body] += 1
        if attempt < self._settings.most_attempts:
            call.fault = draw_fault(
                self._settings.faults, f"{self._settings.seed}/{call.body}/{attempt}"
            )
        return call.fault

    def worked(self, call: Call) -> None:
        """The work of a call is done: it is on the bill, whatever becomes of the answer."""
        prices = self._settings.prices
        price = prices.get(call.model) or prices.get("*")
        if price is None:
            raise ValueError(f"no price for model {call.model!r}; add it, or one for '*'")
        call.cost = (call.input_tokens * price[0] + call.output_tokens * price[1]) / 1_000_000
        self.bill += call.cost
        self.input_tokens += call.input_tokens
        self.output_tokens += call.output_tokens
        self.answered += 1
        self._bodies[call.body] += 1
        if call.idempotency_key is not None:
            self._keys[call.idempotency_key] += 1

    def ended(self, call: Call, status: int | None) -> None:
        """A call is over; ``status``: ``None`` where the connection was closed."""
        call.status = status
        self.statuses[str(status or "dropped")] += 1

    @property
    def distinct(self) -> int:
        """Different calls that were worked on."""
        return len(self._bodies)

    def summary(self) -> dict[str, Any]:
        """Sums. A repeat is a call that was worked on although one like it had been before."""
        return {
            "calls": len(self.calls),
            "answered": self.answered,
            "statuses": dict(self.statuses),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "bill": str(self.bill),
            "distinct_bodies": self.distinct,
            "distinct_keys": len(self._keys),
            "without_key": self.answered - sum(self._keys.values()),
            "repeats_by_body": sum(self._bodies.values()) - len(self._bodies),
            "repeats_by_key": sum(self._keys.values()) - len(self._keys),
        }


def draw_fault(faults: Mapping[str, float], seed: str) -> str:
    """The fault that a seed meets, or ``ok``."""
    at = fraction(seed)
    for kind, share in faults.items():
        if at < share:
            return kind
        at -= share
    return "ok"


def fraction(seed: str) -> float:
    """A number in ``[0, 1)`` that depends on the seed only."""
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=6).digest(), "big") / 2**48


def answer_of(prompt: str, most: int | None, seed: int) -> str:
    """The answer to a prompt: a mark of it and as many words as the seed says, at most ``most``."""
    share = fraction(f"{seed}/length/{prompt}")
    words = 1 + int(share * ((most or 64) - 1))
    mark = hashlib.blake2b(prompt.encode(), digest_size=6).hexdigest()
    picks = hashlib.blake2b(prompt.encode(), digest_size=32).digest()
    return " ".join([mark, *(_WORDS[picks[n % 32] % len(_WORDS)] for n in range(words - 1))])


def vector_of(text: str, dimensions: int) -> list[float]:
    """A vector of length one that depends on the text only."""
    raw = [fraction(f"{n}/{text}") - 0.5 for n in range(dimensions)]
    norm = math.sqrt(sum(x * x for x in raw)) or 1.0
    return [x / norm for x in raw]
