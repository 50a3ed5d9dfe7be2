"""``AccuracyEvaluate``: whether the answer says what a reference says."""

from __future__ import annotations

import re

import attrs

from sage.lib.evaluate.metric import Metric, Scores
from sage.lib.evaluate.squad import best_of, exact_match, normalize
from sage.lib.types import Answer

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


class AccuracyEvaluate(Metric):
    """Adds the score ``accuracy``, 0 or 1; ``None`` when the question has no references.

    Example:
        >>> stream.map(AccuracyEvaluate, {"match": "number"})
    """

    metrics = ("accuracy",)

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            match: ``contains``: the words of a reference stand in the answer, in a row; ``exact``:
                both are equal; ``number``: the last number of both is equal, for arithmetic. Case,
                punctuation, English articles and white space do not count.
        """

        match: str = attrs.field(
            default="contains", validator=attrs.validators.in_(("contains", "exact", "number"))
        )

    def score(self, answer: Answer) -> Scores:
        measure = {"contains": contains, "exact": exact_match, "number": same_number}
        return {"accuracy": best_of(measure[self.config.match], answer.text, answer.query.answers)}


def contains(answer: str, reference: str) -> float:
    """1.0 if the normalised words of ``reference`` stand in ``answer`` in a row, else 0.0.

    In scripts without spaces the characters count instead of words. An empty reference is
    contained in an empty answer only.
    """
    found, wanted = normalize(answer), normalize(reference)
    if not wanted:
        return float(not found)
    if wanted.isascii():
        return float(f" {wanted} " in f" {found} ")
    return float(wanted in found)


def same_number(answer: str, reference: str) -> float:
    """1.0 if the last number of both texts is equal, else 0.0 (also when one has none)."""
    found, wanted = last_number(answer), last_number(reference)
    return float(found is not None and found == wanted)


def last_number(text: str) -> float | None:
    """The last number in a text: ``1,234.50`` is 1234.5; ``None`` when there is none."""
    numbers = _NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else None
