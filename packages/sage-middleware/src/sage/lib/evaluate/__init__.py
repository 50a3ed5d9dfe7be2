"""Evaluators: scores for answers, per item and aggregated."""

from sage.lib.evaluate.aggregate import Summary, aggregate
from sage.lib.evaluate.exact_match import ExactMatch
from sage.lib.evaluate.f1 import F1Evaluate

__all__ = ["ExactMatch", "F1Evaluate", "Summary", "aggregate"]
