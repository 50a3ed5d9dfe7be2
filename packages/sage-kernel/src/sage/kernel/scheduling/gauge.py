"""One limit per minute as virtual scheduling: time goes in, waits come out. No clocks, no I/O.

A gauge counts on two scales that start together: what was ever *reserved* and what was ever
*granted*. Time moves the second one on at the limit's rate; a reservation is due when it has come
to its place. A call that used less than it reserved moves it on at once, for everybody who waits,
and nobody changes places: first come, first served, whatever the size.

Predecessor: ``sage.kernel.scheduling.limits``; successor: ``sage.kernel.scheduling.bucket``.
"""

from __future__ import annotations

from typing import Final

BURST_SECONDS: Final = 2.0
"""What may be sent at once after a pause, as seconds of the limit; at least one unit."""

DECREASE: Final = 0.7
"""Factor on the rate when the server refuses for too many."""

RECOVERY: Final = 0.01
"""Share of the full (or last known) rate that comes back per second without a refusal."""

LEAST_FACTOR: Final = 0.05
EPISODE: Final = 1.0
"""Seconds within which further refusals belong to the same overload."""

_WINDOW: Final = 10.0

UNKNOWN, CONFIGURED, ADOPTED, LEARNED = 0.0, 1.0, 2.0, 3.0
"""Where a limit comes from: nowhere, the settings, the server's headers, refusals."""


class Gauge:
    """A limit, what was reserved and what was granted. All fields are floats: see ``bucket``.

    Attributes:
        limit: Units per minute; 0 while unknown (nobody waits).
        origin: One of ``UNKNOWN``, ``CONFIGURED``, ``ADOPTED``, ``LEARNED``.
        factor: Share of the limit in use, below 1 after refusals.
        base: The learned limit at its last decrease; it grows by ``RECOVERY`` of it.
        reserved, granted, started: Positions on the common scale of units.
        decreased: When the rate was last decreased.
        window, count, before: Start of the window of observation, units started in it and in the
            one before.
    """

    FIELDS = (
        "limit", "origin", "factor", "base", "reserved", "granted", "started", "decreased",
        "window", "count", "before",
    )  # fmt: skip
    __slots__ = FIELDS

    def __init__(self) -> None:
        self.limit = self.base = self.reserved = self.granted = self.started = 0.0
        self.count = self.before = 0.0
        self.origin = UNKNOWN
        self.factor = 1.0
        self.decreased = self.window = float("-inf")

    @property
    def rate(self) -> float:
        """Units per second now; 0 while unknown."""
        return self.limit * self.factor / 60

    @property
    def burst(self) -> float:
        """Units that may be sent at once after a pause."""
        return max(1.0, self.limit / 60 * BURST_SECONDS)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if not self.limit:
            return
        full = self.reserved + self.burst
        self.factor = min(1.0, self.factor + RECOVERY * seconds)
        # A rate that holds nobody back says nothing about the server: it does not grow.
        if self.origin == LEARNED and self.granted < full:
            self.limit += self.base * RECOVERY * seconds
        self.granted = min(full, self.granted + self.rate * seconds)

    def forget_times(self) -> None:
        """The clock went back: times seen before say nothing."""
        self.decreased = self.window = float("-inf")

    def reserve(self, units: float) -> float:
        """Take ``units``; returns the position at which the reservation is due.

        A reservation larger than the burst is due when the gauge is full, and those after it wait
        until it is paid: it neither starves nor needs an idle minute.
        """
        place = self.reserved + min(units, self.burst)
        self.reserved += units
        return place

    def wait(self, place: float) -> float:
        """Seconds until a place is due; 0: now."""
        if not self.limit or self.granted >= place:
            return 0.0
        return (place - self.granted) / self.rate

    def start(self, end: float, units: float, now: float) -> None:
        """A reservation that ends at position ``end`` is being used."""
        self.started = max(self.started, end)
        if now - self.window >= _WINDOW:
            self.before = self.count if now - self.window < 2 * _WINDOW else 0.0
            self.window, self.count = now, 0.0
        self.count += units

    def give_back(self, units: float) -> None:
        """Units that were reserved and not used (negative: used beyond the reservation)."""
        self.granted = min(self.granted + units, self.reserved + self.burst)

    def observed(self, now: float) -> float:
        """Units per second that were started lately."""
        since = min(max(now - self.window, 1.0), _WINDOW)
        if not self.before:
            return self.count / since
        return (self.before + self.count) / (_WINDOW + since)

    def set_limit(self, limit: float, origin: float) -> None:
        """Take over a limit (units per minute); 0 forgets it."""
        fresh = not self.limit
        self.limit, self.origin = limit, origin
        if fresh:
            self.granted = self.started + self.burst
        self.granted = min(self.granted, self.reserved + self.burst)

    def remaining(self, units: float) -> None:
        """The server says that no more than ``units`` are left at the moment."""
        if self.limit:
            self.granted = min(self.granted, self.started + units)

    def refused(self, now: float) -> None:
        """The server refused a call because of this limit: send less."""
        if now - self.decreased < EPISODE:
            return
        self.decreased = now
        if self.origin in (CONFIGURED, ADOPTED):
            self.factor = max(LEAST_FACTOR, self.factor * DECREASE)
            return
        rate = self.limit or self.observed(now) * 60
        self.base = max(1.0, rate * DECREASE)
        self.set_limit(self.base, LEARNED)
        self.granted = min(self.granted, self.started)
