"""SQuAD's measures of a short answer.

Source: the official evaluation script of SQuAD 2.0 (Rajpurkar et al., 2018).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case without punctuation, English articles and repeated white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, reference: str) -> float:
    """1.0 if the normalised texts are equal, else 0.0."""
    return float(normalize(answer) == normalize(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the normalised words, as bags; in ``[0, 1]``."""
    found, wanted = normalize(answer).split(), normalize(reference).split()
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted))


def best_of(measure: object, answer: str, references: Sequence[str]) -> float | None:
    """The highest value of ``measure(answer, reference)``; ``None`` without references."""
    assert callable(measure)
    return max((measure(answer, reference) for reference in references), default=None)
