"""What words say about a question and a passage: the features of ``LightReranker``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log

import attrs

WINDOW = 24
"""Terms (stop words not counted) that a close match may spread over: about two sentences."""


@attrs.frozen(kw_only=True)
class Features:
    """Each in ``[0, 1]``, weighted by how rare the terms are among the candidates.

    Attributes:
        match: Saturated frequencies of the question's terms, held back for long passages (BM25).
        coverage: Share of the question's terms that occur at all.
        phrase: Share of the question's neighbouring pairs that are neighbours in the passage.
        proximity: Largest share of the question's terms within ``WINDOW`` terms of the passage.
    """

    match: float
    coverage: float
    phrase: float
    proximity: float


def features_of(
    question: Sequence[str],
    passages: Sequence[Sequence[str]],
    *,
    k1: float = 1.2,
    b: float = 0.75,
) -> list[Features]:
    """The features of every passage.

    Args:
        question: Terms of the question, in order.
        passages: Terms of each passage, in order.
        k1: How fast repeated occurrences stop counting.
        b: How much long passages are held back.
    """
    asked = dict.fromkeys(question)
    frequency = dict.fromkeys(asked, 0)
    for passage in passages:
        for term in asked.keys() & set(passage):
            frequency[term] += 1
    weight = {term: rarity(n, len(passages)) for term, n in frequency.items()}
    mean = sum(map(len, passages)) / max(1, len(passages)) or 1.0
    pairs = [
        (first, second, weight[first] + weight[second])
        for first, second in pairwise(question)
        if first != second
    ]
    return [
        _features(passage, weight, pairs, k1 * (1 - b + b * len(passage) / mean))
        for passage in passages
    ]


def rarity(frequency: int, count: int) -> float:
    """Weight of a term that ``frequency`` of ``count`` candidates have, always above 0.

    Candidates were found by the question's words, so that these are common among them: a weight
    that falls to 0 for a term all of them have would forget what the question is about.
    """
    return log(1 + (count + 1) / (frequency + 0.5))


def _features(
    passage: Sequence[str],
    weight: Mapping[str, float],
    pairs: Sequence[tuple[str, str, float]],
    saturation: float,
) -> Features:
    total = sum(weight.values())
    places = [(n, term) for n, term in enumerate(passage) if term in weight]
    if not places or not total:
        return Features(match=0.0, coverage=0.0, phrase=0.0, proximity=0.0)
    counts: dict[str, int] = {}
    for _, term in places:
        counts[term] = counts.get(term, 0) + 1
    match = sum(weight[term] * n / (n + saturation) for term, n in counts.items())
    beside = {(first, second) for (n, first), (m, second) in pairwise(places) if m == n + 1}
    joined = sum(w for first, second, w in pairs if (first, second) in beside)
    return Features(
        match=match / total,
        coverage=sum(weight[term] for term in counts) / total,
        phrase=joined / sum(w for _, _, w in pairs) if pairs else 0.0,
        proximity=_closest(places, weight) / total,
    )


def _closest(places: Sequence[tuple[int, str]], weight: Mapping[str, float]) -> float:
    """The largest summed weight of different terms within ``WINDOW`` terms."""
    inside: dict[str, int] = {}
    held = best = 0.0
    start = 0
    for place, term in places:
        if inside.get(term, 0) == 0:
            held += weight[term]
        inside[term] = inside.get(term, 0) + 1
        while place - places[start][0] >= WINDOW:
            left = places[start][1]
            inside[left] -= 1
            if inside[left] == 0:
                held -= weight[left]
            start += 1
        best = max(best, held)
    return best
