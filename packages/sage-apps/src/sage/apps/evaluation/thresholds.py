"""Bounds that a run must keep, such as ``f1>=0.3``, for continuous integration."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping

import attrs

from sage.common.errors import ConfigError
from sage.kernel.graph.options import suggest
from sage.lib.evaluate.aggregate import Summary

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*([^<>=\s]+?)(?:\.(low|high))?\s*(>=|<=|>|<)\s*([-+]?[\d.]+(?:e-?\d+)?)\s*")


@attrs.frozen(kw_only=True)
class Threshold:
    """One bound.

    Attributes:
        text: As it was given.
        metric: Name of the score.
        part: ``mean``, or ``low`` or ``high`` for an end of the interval.
        sign: Comparison.
        bound: The number.
    """

    text: str
    metric: str
    part: str
    sign: str
    bound: float

    def check(self, totals: Mapping[str, Summary]) -> tuple[bool, float | None]:
        """Whether it holds, and the value; without a value it does not hold."""
        total = totals.get(self.metric)
        value = None if total is None else getattr(total, self.part)
        return value is not None and _COMPARE[self.sign](value, self.bound), value


def parse_threshold(text: str) -> Threshold:
    """Read ``f1>=0.3``, ``latency<2`` or ``f1.low>=0.3`` (the lower end of the interval).

    Raises:
        ConfigError: It has another form.
    """
    found = _FORM.fullmatch(text)
    try:
        bound = float(found[4]) if found else None
    except ValueError:
        bound = None
    if found is None or bound is None:
        raise ConfigError(
            f"--threshold {text!r}: expected METRIC>=NUMBER (or <=, >, <), e.g. f1>=0.3, or "
            "f1.low>=0.3 for the lower end of the interval"
        )
    return Threshold(
        text=text, metric=found[1], part=found[2] or "mean", sign=found[3], bound=bound
    )


def check_names(thresholds: list[Threshold], names: list[str]) -> None:
    """Refuse bounds on scores that the run does not set, before it starts.

    Raises:
        ConfigError: Names the score.
    """
    for each in thresholds:
        if each.metric not in names:
            raise ConfigError(
                f"--threshold {each.text!r}: the run sets no score {each.metric!r}"
                f"{suggest(each.metric, names)} (it sets {', '.join(names)}); add it to --metrics"
            )
