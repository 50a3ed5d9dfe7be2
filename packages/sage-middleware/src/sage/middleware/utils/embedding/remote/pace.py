"""A limit per minute, as a pure token bucket: time goes in, waits come out."""

from __future__ import annotations


class Pace:
    """Lets ``per_minute`` units through each minute, in bursts of at most one second's worth.

    Units are reserved in the order of the calls: whoever must wait has already paid.

    Args:
        per_minute: Units (requests or tokens) per minute.
    """

    def __init__(self, per_minute: float) -> None:
        self._per_second = per_minute / 60
        self._burst = max(self._per_second, 1.0)
        self._level = self._burst
        self._at: float | None = None

    def reserve(self, units: float, now: float) -> float:
        """Take ``units`` and return the seconds to wait before using them.

        Args:
            units: How many; more than the burst are let through, and paid for by those who follow.
            now: Seconds of a clock that never goes back.
        """
        if self._at is not None:
            gained = (now - self._at) * self._per_second
            self._level = min(self._burst, self._level + gained)
        self._at = now
        wait = max(0.0, (min(units, self._burst) - self._level) / self._per_second)
        self._level -= units
        return wait
