"""From scores per item to a mean with a confidence interval."""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs

from sage.lib.types import Evaluation


@attrs.frozen(kw_only=True)
class Summary:
    """One metric over many items.

    Attributes:
        mean: Over the items that have a score; ``None`` when none has.
        count: Items with a score.
        missing: Items without.
        low, high: 95 % confidence interval of the mean (normal approximation with the sample
            standard deviation), or ``None`` under two items.
    """

    mean: float | None
    count: int
    missing: int
    low: float | None = None
    high: float | None = None


def aggregate(items: Iterable[Evaluation]) -> dict[str, Summary]:
    """Summaries by metric, in the order in which metrics first appear."""
    scores: dict[str, list[float | None]] = {}
    for item in items:
        for name, value in item.scores.items():
            scores.setdefault(name, []).append(value)
    return {name: summarize(values) for name, values in scores.items()}


def summarize(values: Iterable[float | None]) -> Summary:
    """Mean and interval; ``None`` is "no score", never 0."""
    everything = list(values)
    known = [value for value in everything if value is not None]
    n, missing = len(known), len(everything) - len(known)
    if not known:
        return Summary(mean=None, count=0, missing=missing)
    mean = math.fsum(known) / n
    if n < 2:
        return Summary(mean=mean, count=n, missing=missing)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    half = 1.96 * deviation / math.sqrt(n)
    return Summary(mean=mean, count=n, missing=missing, low=mean - half, high=mean + half)
