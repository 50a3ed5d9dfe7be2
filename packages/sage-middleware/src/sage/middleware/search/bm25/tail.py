"""The part of the index that changes: what was added since the last segment was sealed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from sage.middleware.search.bm25.segment import Floats, Ints, Segment, from_keys, saturate


class Tail:
    """Postings in dictionaries: a document is added or taken out in time of its own length.

    Args:
        serial: Number of the tail; becomes that of the segment it is sealed into.
    """

    dead = 0

    def __init__(self, serial: int) -> None:
        self.serial = serial
        self._postings: dict[int, dict[int, int]] = {}
        self._terms_of: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._terms_of)

    def add(self, slot: int, terms: list[int]) -> None:
        """Adds a document; the slot must be free."""
        counts = Counter(terms)
        self._terms_of[slot] = list(counts)
        for term, count in counts.items():
            postings = self._postings.get(term)
            if postings is None:
                self._postings[term] = {slot: count}
            else:
                postings[slot] = count

    def remove(self, slot: int) -> None:
        """Takes a document out."""
        for term in self._terms_of.pop(slot):
            postings = self._postings[term]
            del postings[slot]
            if not postings:
                del self._postings[term]

    def frequency(self, term: int) -> int:
        """Documents that contain the term."""
        postings = self._postings.get(term)
        return len(postings) if postings else 0

    def postings(
        self, term: int, lengths: Floats, base: float, per_word: float
    ) -> tuple[Ints, Floats, float]:
        """Slots ascending, impacts and the highest of them; see ``Segment.postings``."""
        items = sorted(self._postings[term].items())
        table = np.array(items, np.int32)
        docs = table[:, 0].copy()
        impacts = saturate(table[:, 1], lengths[docs], base, per_word)
        return docs, impacts, float(impacts.max())

    def _entries(self) -> Iterator[tuple[int, int]]:
        for term in sorted(self._postings):
            for slot, count in sorted(self._postings[term].items()):
                yield term << 32 | slot, count

    def seal(self) -> Segment:
        """The same postings as a segment."""
        entries = np.array(list(self._entries()), np.int64).reshape(-1, 2)
        if not len(entries):
            none = np.empty(0, np.int32)
            return Segment(self.serial, none, np.zeros(1, np.int64), none, none, len(self))
        return from_keys(
            self.serial, entries[:, 0].copy(), entries[:, 1].astype(np.int32), len(self)
        )
