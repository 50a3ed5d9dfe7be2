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
        low, high: 95 % confidence interval of the mean, or ``None`` under two items: by the
            bootstrap where it was asked for, else by the normal approximation with the sample
            standard deviation.
    """

    mean: float | None
    count: int
    missing: int
    low: float | None = None
    high: float | None = None


def aggregate(
    items: Iterable[Evaluation], *, resamples: int = 0, seed: int | None = None
) -> dict[str, Summary]:
    """Summaries by metric, in the order in which metrics first appear.

    Args:
        items: The scored answers.
        resamples: Draws of the bootstrap; 0: normal approximation.
        seed: Of the bootstrap; default: always the same.
    """
    scores: dict[str, list[float | None]] = {}
    for item in items:
        for name, value in item.scores.items():
            scores.setdefault(name, []).append(value)
    return {
        name: summarize(values, resamples=resamples, seed=seed) for name, values in scores.items()
    }


def summarize(
    values: Iterable[float | None], *, resamples: int = 0, seed: int | None = None
) -> Summary:
    """Mean and interval; ``None`` is "no score", never 0."""
    everything = list(values)
    known = [value for value in everything if value is not None]
    n, missing = len(known), len(everything) - len(known)
    if not known:
        return Summary(mean=None, count=0, missing=missing)
    mean = math.fsum(known) / n
    if n < 2:
        return Summary(mean=mean, count=n, missing=missing)
    if resamples:
        from sage.lib.evaluate.resampling import SEED, bootstrap_interval  # noqa: PLC0415 - NumPy

        interval = bootstrap_interval(
            known, resamples=resamples, seed=SEED if seed is None else seed
        )
        assert interval is not None
        return Summary(mean=mean, count=n, missing=missing, low=interval.low, high=interval.high)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    half = 1.96 * deviation / math.sqrt(n)
    return Summary(mean=mean, count=n, missing=missing, low=mean - half, high=mean + half)
