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
Longs: TypeAlias = npt.NDArray[np.int64]

_GROUP = 32
_WORTH = 2048
# One binary search costs as much as writing and reading so many entries of a table.
_SEARCH_COST = 12
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


def best(slots: Longs, scores: Floats, topk: int) -> tuple[Longs, Floats]:
    """The ``topk`` best positive scores, best first, equal ones by slot."""
    low = threshold(scores, topk)
    keep = np.flatnonzero(scores >= low if low > 0 else scores > 0)
    slots, scores = slots[keep], scores[keep]
    order = np.lexsort((slots, -scores))[:topk]
    return slots[order], scores[order]


def _looked_up(docs: Ints, impacts: Floats, slots: Longs, table: Floats) -> Floats:
    """Impact of each slot, 0 where it has none."""
    if len(slots) * _SEARCH_COST > len(docs):
        places = docs.astype(np.int64)
        table[places] = impacts
        found = table.take(slots)
        _clear(table, places)
        return found
    at = np.searchsorted(docs, slots.astype(np.int32))
    np.minimum(at, len(docs) - 1, out=at)
    found = impacts.take(at)
    found[docs.take(at) != slots] = 0.0
    return found


def _clear(table: Floats, places: Longs) -> None:
    if len(places) * 8 > len(table):
        table.fill(0.0)
    else:
        table[places] = 0.0


def rank_among(
    terms: Sequence[TermPostings], slots: Ints, topk: int, table: Floats
) -> tuple[Longs, Floats]:
    """The best of given slots: for filters that few documents pass."""
    places = slots.astype(np.int64)
    scores = np.zeros(len(slots), np.float32)
    for term in sorted(terms, key=lambda t: -t.bound):
        for docs, impacts in term.parts:
            scores += term.weight * _looked_up(docs, impacts, places, table)
    return best(places, scores, topk)


def _scored(
    term: TermPostings, part: tuple[Ints, Floats], allowed: Mask | None
) -> tuple[Longs, Floats]:
    """Slots that may be found and what the term adds to them."""
    docs, impacts = part
    # Indexing by int64 is three times faster than by int32, even with this conversion.
    places = docs.astype(np.int64)
    if allowed is None:
        return places, term.weight * impacts
    passed = np.flatnonzero(allowed.take(places))
    return places[passed], term.weight * impacts[passed]


def rank(
    terms: Sequence[TermPostings], topk: int, table: Floats, allowed: Mask | None = None
) -> tuple[Longs, Floats]:
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
    first = [_scored(ordered[0], part, allowed) for part in ordered[0].parts]
    candidates = first[0][0] if len(first) == 1 else np.concatenate([docs for docs, _ in first])
    scores = first[0][1] if len(first) == 1 else np.concatenate([added for _, added in first])
    touched, low, i = [candidates], 0.0, 1
    if len(ordered) > 1 and ordered[1].length > _WORTH:
        low = threshold(scores, topk)
    while i < len(ordered) and not rest[i] < low * _SLACK:
        if i == 1:
            table[candidates] = scores
        for part in ordered[i].parts:
            places, added = _scored(ordered[i], part, allowed)
            before = table.take(places)
            touched.append(places[before == 0.0])
            before += added
            table[places] = before
        i += 1
        if i < len(ordered) and ordered[i].length > _WORTH:
            # Each list is part of all scores, so its bound is a bound of theirs.
            low = max(low, *(threshold(table.take(places), topk) for places in touched))
    if i > 1:
        candidates = np.concatenate(touched)
        scores = table.take(candidates)
        _clear(table, candidates)
    for j in range(i, len(ordered)):
        keep = np.flatnonzero(scores >= np.float32(low * _SLACK - rest[j]))
        if len(keep) < len(candidates):
            candidates, scores = candidates[keep], scores[keep]
        for docs, impacts in ordered[j].parts:
            scores = scores + ordered[j].weight * _looked_up(docs, impacts, candidates, table)
        if j + 1 < len(ordered):
            low = max(low, threshold(scores, topk))
    return best(candidates, scores, topk)
