"""Intervals and paired tests by resampling, reproducible by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
SEED = 20_260
_BLOCK = 4_000_000


@attrs.frozen(kw_only=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@attrs.frozen(kw_only=True)
class Comparison:
    """Two runs on the same questions, ``b`` against ``a``.

    Attributes:
        count: Questions that both runs scored.
        mean_a, mean_b: Means over these.
        difference: ``mean_b - mean_a``.
        low, high: 95 % bootstrap interval of the difference.
        p_value: Two-sided paired permutation test of "no difference".
        effect: Cohen's d of the differences (mean over standard deviation); ``None`` when they do
            not vary.
        wins, losses, ties: Questions on which ``b`` has the higher, lower, same value.
    """

    count: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_value: float
    effect: float | None
    wins: int
    losses: int
    ties: int


def bootstrap_interval(
    values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval | None:
    """Percentile bootstrap interval of the mean; ``None`` under two values.

    Source: Efron, Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    if len(values) < 2:
        return None
    low, high = np.quantile(_means(np.asarray(values, float), resamples, seed), (0.025, 0.975))
    return Interval(low=float(low), high=float(high))


def compare_paired(
    a: Sequence[float], b: Sequence[float], *, resamples: int = 10_000, seed: int = SEED
) -> Comparison | None:
    """Compare the values of two runs, question by question; ``None`` without any.

    The p-value is that of flipping the signs of the differences at random: exact (all flips) up to
    12 differences that are not 0, else with ``resamples`` draws and the observed one counted in, so
    that it is never 0.
    Source: Smucker, Allan, Carterette, A Comparison of Statistical Significance Tests for
    Information Retrieval Evaluation, 2007.

    Raises:
        ValueError: The runs differ in length.
    """
    if len(a) != len(b):
        raise ValueError(f"a and b must be of one length, got {len(a)} and {len(b)}")
    if not a:
        return None
    difference = np.asarray(b, float) - np.asarray(a, float)
    interval = bootstrap_interval(difference.tolist(), resamples=resamples, seed=seed)
    mean = math.fsum(difference) / len(difference)
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return Comparison(
        count=len(a),
        mean_a=math.fsum(a) / len(a),
        mean_b=math.fsum(b) / len(b),
        difference=mean,
        low=interval.low if interval else mean,
        high=interval.high if interval else mean,
        p_value=_p_value(difference[difference != 0], resamples, seed),
        effect=mean / spread if spread > 0 else None,
        wins=int((difference > 0).sum()),
        losses=int((difference < 0).sum()),
        ties=int((difference == 0).sum()),
    )


def _p_value(difference: npt.NDArray[np.float64], resamples: int, seed: int) -> float:
    n = len(difference)
    if n == 0:
        return 1.0
    observed = abs(difference.sum())
    # Sums of the same numbers in another order differ in the last bits.
    bound = observed - 1e-12 * float(np.abs(difference).sum())
    if n <= 12:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        sums = (1 - 2 * bits) @ difference
        return float((np.abs(sums) >= bound).mean())
    rng = np.random.default_rng(seed)
    reached = 0
    for size in _blocks(resamples, n):
        signs = rng.integers(0, 2, (size, n), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ difference) >= bound).sum())
    return (reached + 1) / (resamples + 1)


def _means(values: npt.NDArray[np.float64], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    n = len(values)
    return np.concatenate(
        [values[rng.integers(0, n, (size, n))].mean(axis=1) for size in _blocks(resamples, n)]
    )


def _blocks(resamples: int, n: int) -> list[int]:
    """Row counts that keep each matrix of draws below some 32 MB."""
    rows = max(1, _BLOCK // max(n, 1))
    full, rest = divmod(resamples, rows)
    return [rows] * full + ([rest] if rest else [])
