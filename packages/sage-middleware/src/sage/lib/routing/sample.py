"""``Sample``: a share of the items, the same ones every time."""

from __future__ import annotations

import random
from typing import Any

import attrs

from sage.api.functions import FilterFunction


class Sample(FilterFunction[Any]):
    """Keeps each item with a probability, and at most a number of them.

    Seeded: the same items in the same order give the same sample (each subtask draws from a
    sequence of its own, so keep the ``parallelism`` too).

    Example:
        >>> stream.filter(Sample, {"rate": 0.1, "seed": 7})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            rate: Probability of an item, in [0, 1].
            limit: Most items per subtask; default: no limit.
            seed: Seed of the draw.
        """

        rate: float = attrs.field(
            default=1.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)]
        )
        limit: int | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
        )
        seed: int = 0

    def open(self, ctx: Any) -> None:
        """Start the sequence."""
        self._random = random.Random(f"{self.config.seed}/{ctx.subtask}")  # noqa: S311 - a sample
        self._kept = 0

    def execute(self, item: Any) -> bool:
        """Whether the item is in the sample."""
        settings = self.config
        if settings.limit is not None and self._kept >= settings.limit:
            return False
        keep: bool = self._random.random() < settings.rate
        self._kept += keep
        return keep
