"""Numbers per step, gathered without touching the common path.

Counts come from counters of the generated code, added once per batch; what a map puts out is what
it took in, so it has no counter. Latencies are sampled: every n-th batch, and every batch of a
slow step, runs the variant of the code that times each call.
"""

from __future__ import annotations

from typing import Any

BUCKETS = 32
"""Latency buckets: bucket ``i`` holds calls shorter than ``2**i`` microseconds."""


class StepMetrics:
    """What one step of one subtask has seen.

    Attributes:
        errors: Calls that raised (each attempt counts).
        lost: Items that left by the policies ``skip`` and ``dead_letter``, or ended the job.
        retries: Attempts after the first.
        dead_letters: Items written to the dead-letter file.
        buckets: Histogram of sampled call times.
        seconds: Sum of the sampled call times.
        samples: Number of sampled calls.
    """

    __slots__ = (
        "buckets",
        "dead_letters",
        "errors",
        "fallbacks",
        "lost",
        "retries",
        "samples",
        "seconds",
    )

    def __init__(self) -> None:
        self.errors = 0
        self.lost = 0
        self.retries = 0
        self.dead_letters = 0
        self.fallbacks = 0
        self.samples = 0
        self.seconds = 0.0
        self.buckets = [0] * (BUCKETS + 1)

    def observe(self, seconds: float) -> None:
        """Add one sampled call time."""
        micros = int(seconds * 1e6)
        self.buckets[min(micros.bit_length(), BUCKETS)] += 1
        self.seconds += seconds
        self.samples += 1

    def observe_many(self, seconds: float, count: int) -> None:
        """Add ``count`` calls that took ``seconds`` together."""
        if count > 0:
            micros = int(seconds / count * 1e6)
            self.buckets[min(micros.bit_length(), BUCKETS)] += count
            self.seconds += seconds
            self.samples += count

    def add(self, other: StepMetrics) -> None:
        """Merge another subtask's numbers into this one."""
        for slot in (
            "errors",
            "lost",
            "retries",
            "dead_letters",
            "fallbacks",
            "samples",
            "seconds",
        ):
            setattr(self, slot, getattr(self, slot) + getattr(other, slot))
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]


def quantile(buckets: list[int], q: float) -> float | None:
    """Estimate of a quantile in seconds from the histogram, ``None`` without samples."""
    total = sum(buckets)
    if not total:
        return None
    want, seen = q * total, 0
    for i, count in enumerate(buckets):
        if count and seen + count >= want:
            low = 0.0 if i == 0 else 2.0 ** (i - 1)
            high = 2.0**i
            return (low + (high - low) * (want - seen) / count) / 1e6
        seen += count
    return 2.0**BUCKETS / 1e6


def describe(
    name: str,
    kind: str,
    *,
    into: int,
    out: int,
    step: StepMetrics,
    queue: int,
    busy: float,
    idle: float,
    backpressured: float,
    in_flight: int,
    segment: int,
    counters: dict[str, float],
) -> dict[str, Any]:
    """One entry of ``job.metrics()["operators"]``; times in seconds, ratios 0..1."""
    return {
        "name": name,
        "kind": kind,
        "segment": segment,
        "in": into,
        "out": out,
        "errors": step.errors,
        "lost": step.lost,
        "retries": step.retries,
        "fallbacks": step.fallbacks,
        "dead_letters": step.dead_letters,
        "queue": queue,
        "in_flight": in_flight,
        "busy": round(busy, 4),
        "idle": round(idle, 4),
        "backpressured": round(backpressured, 4),
        "p50": quantile(step.buckets, 0.50),
        "p95": quantile(step.buckets, 0.95),
        "p99": quantile(step.buckets, 0.99),
        "samples": step.samples,
        "seconds": step.seconds,
        "buckets": list(step.buckets),
        "counters": counters,
    }
