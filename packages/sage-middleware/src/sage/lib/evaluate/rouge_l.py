"""``RougeLEvaluate``: how much of a reference the answer says in the same order."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from sage.lib.evaluate.metric import Metric, Scores
from sage.lib.types import Answer

_NOT_ASCII_WORD = re.compile(r"[^a-z0-9]+")
_UNICODE_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)


class RougeLEvaluate(Metric):
    """Adds the score ``rouge_l`` in ``[0, 1]``: the best F measure over the references.

    ``None`` when the question has no references.
    Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004; equal to the package
    rouge-score (``rougeL``, no stemmer) with the tokenizer ``ascii``.

    Example:
        >>> stream.map(RougeLEvaluate)
    """

    metrics = ("rouge_l",)

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            tokenizer: ``ascii``: words of a-z and 0-9, as rouge-score splits (other scripts
                give no words there); ``unicode``: words of any script, single characters of
                Chinese, Japanese and Korean.
        """

        tokenizer: str = attrs.field(
            default="ascii", validator=attrs.validators.in_(("ascii", "unicode"))
        )

    def score(self, answer: Answer) -> Scores:
        tokenizer = self.config.tokenizer
        found = tokens(answer.text, tokenizer)
        values = [rouge_l(found, tokens(text, tokenizer)) for text in answer.query.answers]
        return {"rouge_l": max(values, default=None)}


def tokens(text: str, tokenizer: str = "ascii") -> list[str]:
    """The words that are compared, lower case."""
    if tokenizer == "ascii":
        return _NOT_ASCII_WORD.sub(" ", text.lower()).split()
    return _UNICODE_TOKEN.findall(text.lower())


def rouge_l(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F measure of the longest common subsequence of two lists of words."""
    if not answer or not reference:
        return 0.0
    common = longest_common_subsequence(answer, reference)
    precision, recall = common / len(answer), common / len(reference)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def longest_common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    One machine-independent bit vector per word of ``b``, one long addition per word of ``a``.
    Source: Hyyrö, Bit-Parallel LCS-length Computation Revisited, 2004.
    """
    places: dict[str, int] = {}
    for index, word in enumerate(b):
        places[word] = places.get(word, 0) | (1 << index)
    mask = (1 << len(b)) - 1
    row = mask
    for word in a:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & mask
    return len(b) - row.bit_count()
