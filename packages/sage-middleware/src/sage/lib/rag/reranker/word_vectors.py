"""Vectors of the words of a few texts, for comparing them with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log

import numpy as np
import numpy.typing as npt

from sage.middleware.search.text import Analyzer


class WordVectors:
    """``texts -> (n, terms)`` float32, L2-normalised: ``(1 + ln tf) * idf`` within the texts.

    A text without any term is a zero row: like no other.

    Args:
        language: For stems and stop words (ISO 639-1).
    """

    def __init__(self, language: str) -> None:
        self._analyzer = Analyzer(language)

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vectors of one list of texts."""
        counts = [Counter(self._analyzer.terms(text)) for text in texts]
        frequency = Counter(term for count in counts for term in count)
        column = {term: n for n, term in enumerate(frequency)}
        out = np.zeros((len(texts), max(1, len(column))), np.float32)
        for row, count in enumerate(counts):
            for term, times in count.items():
                # Smoothed, so that a word all texts share still counts a little.
                idf = log(1 + len(texts) / frequency[term])
                out[row, column[term]] = (1 + log(times)) * idf
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        out /= np.where(norms > 0, norms, 1)
        return out
