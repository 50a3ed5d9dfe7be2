"""The best scores of a query without looking at every posting.

MaxScore: terms are taken in the order of the most they can add. As soon as what the remaining
terms can add together is less than the ``topk``-th best score so far, no new document can get in;
from there the remaining (usually longest) postings are only looked up for documents that still
can. Exact: what is left out is proven not to belong to the answer.
Source: H. Turtle, J. Flood, Query evaluation: strategies and optimizations, IPM 31(6), 1995.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sage.middleware.search.bm25.segment import Floats, Ints

Mask: TypeAlias = npt.NDArray[np.bool_]

_GROUP = 32
_WORTH = 2048
# Bounds are float32 sums in another order than scores: keep what is this close.
_SLACK = 1 - 1e-5


class TermPostings:
    """Postings of one query term.

    Args:
        weight: What an impact is multiplied by: idf times occurrences in the query.
        parts: Slots (ascending) and impacts, one pair per segment that holds the term.
        bound: The highest impact.
    """

    __slots__ = ("bound", "length", "parts", "weight")

    def __init__(self, weight: float, parts: list[tuple[Ints, Floats]], bound: float) -> None:
        self.weight = np.float32(weight)
        self.parts = parts
        self.bound = weight * bound
        self.length = sum(len(docs) for docs, _ in parts)


def threshold(scores: Floats, topk: int) -> float:
    """A lower bound of the ``topk``-th best score, close to it; 0 when there are fewer scores."""
    n = len(scores)
    if n < topk:
        return 0.0
    if n >= 8 * _GROUP * topk:
        # The k-th best of the groups' maxima is reached by k different scores.
        cut = n - n % _GROUP
        scores = scores[:cut].reshape(_GROUP, -1).max(axis=0)
        n = len(scores)
    return float(np.partition(scores, n - topk)[n - topk])


def best(slots: Ints, scores: Floats, topk: int) -> tuple[Ints, Floats]:
    """The ``topk`` best positive scores, best first, equal ones by slot."""
    low = threshold(scores, topk)
    keep = np.flatnonzero(scores >= low if low > 0 else scores > 0)
    slots, scores = slots[keep], scores[keep]
    order = np.lexsort((slots, -scores))[:topk]
    return slots[order], scores[order]


def _gathered(docs: Ints, impacts: Floats, slots: Ints) -> Floats:
    """Impact of each slot, 0 where it has none."""
    at = np.searchsorted(docs, slots)
    np.minimum(at, len(docs) - 1, out=at)
    found = impacts[at]
    found[docs[at] != slots] = 0.0
    return found


def rank_among(terms: Sequence[TermPostings], slots: Ints, topk: int) -> tuple[Ints, Floats]:
    """The best of given slots: for filters that few documents pass."""
    scores = np.zeros(len(slots), np.float32)
    for term in sorted(terms, key=lambda t: -t.bound):
        for docs, impacts in term.parts:
            scores += term.weight * _gathered(docs, impacts, slots)
    return best(slots, scores, topk)


def rank(
    terms: Sequence[TermPostings], topk: int, table: Floats, allowed: Mask | None = None
) -> tuple[Ints, Floats]:
    """The ``topk`` documents with the highest sums of ``weight * impact``.

    Args:
        terms: The query, at least one term.
        topk: How many, at least 1.
        table: Zeros, one per slot; used as scratch and zero again afterwards.
        allowed: Which slots may be found; ``None`` for all.

    Returns:
        Slots and scores, best first; only documents with a positive score.
    """
    ordered = sorted(terms, key=lambda t: -t.bound)
    rest = np.cumsum([t.bound for t in reversed(ordered)])[::-1].tolist()
    touched: list[Ints] = []
    low = 0.0
    candidates: Ints | None = None
    for i, term in enumerate(ordered):
        if low > 0 and rest[i] < low * _SLACK:
            candidates = np.concatenate(touched) if len(touched) > 1 else touched[0]
            break
        for docs, impacts in term.parts:
            if allowed is None:
                slots, added = docs, term.weight * impacts
            else:
                passed = np.flatnonzero(allowed[docs])
                slots, added = docs[passed], term.weight * impacts[passed]
            if not touched:
                table[slots] = added
                touched.append(slots)
                continue
            before = table[slots]
            touched.append(slots[before == 0.0])
            before += added
            table[slots] = before
        if i + 1 < len(ordered) and ordered[i + 1].length > _WORTH:
            low = max(low, _lowest(touched, table, topk))
    else:
        i = len(ordered)
    if candidates is None:
        candidates = np.concatenate(touched) if len(touched) > 1 else touched[0]
    scores = table[candidates]
    table[candidates] = 0.0
    for j in range(i, len(ordered)):
        keep = np.flatnonzero(scores + np.float32(rest[j]) >= low * _SLACK)
        if len(keep) < len(candidates):
            candidates, scores = candidates[keep], scores[keep]
        for docs, impacts in ordered[j].parts:
            scores += ordered[j].weight * _gathered(docs, impacts, candidates)
        if j + 1 < len(ordered):
            low = max(low, threshold(scores, topk))
    return best(candidates, scores, topk)


def _lowest(touched: list[Ints], table: Floats, topk: int) -> float:
    """Lower bound of the ``topk``-th best score so far."""
    return max((threshold(table[docs], topk) for docs in touched), default=0.0)
