"""A sealed part of the index: postings in compressed sparse rows, one row per term."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int32]
Floats: TypeAlias = npt.NDArray[np.float32]
Offsets: TypeAlias = npt.NDArray[np.int64]


def saturate(
    tfs: Ints, lengths: Floats, base: float, per_word: float, out: Floats | None = None
) -> Floats:
    """``tf / (tf + base + per_word * length)``, in one order of rounding everywhere."""
    tf = tfs.astype(np.float32)
    out = np.multiply(lengths, np.float32(per_word), out=out)
    out += np.float32(base)
    out += tf
    return np.divide(tf, out, out=out)


class Segment:
    """Postings of a fixed set of documents.

    Only which documents are still alive changes, and that lives in the index (``owner``). What
    depends on statistics of the whole collection (impacts, live document counts) is filled in per
    term when a query asks, and kept until the statistics change: scores are always exact, and a
    collection at rest pays only once.

    Args:
        serial: Number of the segment; a slot belongs to the segment that ``owner`` names.
        terms: ``(n_terms,)`` term ids, ascending.
        starts: ``(n_terms + 1,)`` where each term's postings begin.
        docs: ``(n_postings,)`` slots, ascending within a term.
        tfs: ``(n_postings,)`` occurrences of the term in the document.
        documents: How many documents it was sealed with.
    """

    def __init__(
        self, serial: int, terms: Ints, starts: Offsets, docs: Ints, tfs: Ints, documents: int
    ) -> None:
        self.serial = serial
        self.terms = terms
        self.starts = starts
        self.docs = docs
        self.tfs = tfs
        self.documents = documents
        self.dead = 0
        self.saved_as: str | None = None
        self._impacts: Floats = np.empty(len(docs), np.float32)
        self._bounds: Floats = np.zeros(len(terms), np.float32)
        self._epochs = np.full(len(terms), -1, np.int64)
        self._live = np.diff(starts)
        self._live_epochs = np.full(len(terms), -1, np.int64)

    @property
    def live(self) -> int:
        """Documents that are still in the index."""
        return self.documents - self.dead

    def rows(self, terms: Ints) -> list[int]:
        """Row of each term, -1 where the segment does not hold it."""
        if not len(self.terms):
            return [-1] * len(terms)
        at = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        rows: list[int] = np.where(self.terms[at] == terms, at, -1).tolist()
        return rows

    def frequency(self, row: int, owner: Ints, changed: int) -> int:
        """Live documents that contain the term.

        Args:
            row: Row of the term.
            owner: Serial of the segment that holds each slot.
            changed: Count of deletions so far.
        """
        if self.dead and self._live_epochs[row] != changed:
            docs = self.docs[self.starts[row] : self.starts[row + 1]]
            self._live[row] = np.count_nonzero(owner[docs] == self.serial)
            self._live_epochs[row] = changed
        return int(self._live[row])

    def postings(
        self, row: int, epoch: int, lengths: Floats, owner: Ints, base: float, per_word: float
    ) -> tuple[Ints, Floats, float]:
        """Slots, impacts ``tf / (tf + k1 * (1 - b + b * length / mean))`` and the highest of them.

        Only of documents that are alive.

        Args:
            row: Row of the term.
            epoch: Changes with every statistic that impacts depend on.
            lengths: Words of each slot.
            owner: Serial of the segment that holds each slot.
            base: ``k1 * (1 - b)``.
            per_word: ``k1 * b / mean length``.
        """
        start, end = self.starts[row], self.starts[row + 1]
        docs, impacts = self.docs[start:end], self._impacts[start:end]
        if self._epochs[row] != epoch:
            saturate(self.tfs[start:end], lengths[docs], base, per_word, out=impacts)
            if self.dead:
                impacts[owner[docs] != self.serial] = 0.0
            self._bounds[row] = impacts.max()
            self._epochs[row] = epoch
        if self.dead:
            alive = np.flatnonzero(impacts)
            if len(alive) < len(docs):
                docs, impacts = docs[alive], impacts[alive]
        return docs, impacts, float(self._bounds[row])


def sealed(serial: int, terms: Ints, docs: Ints, documents: int) -> Segment:
    """A segment from one entry per occurrence of a term in a document, in any order."""
    if not len(terms):
        none = np.empty(0, np.int32)
        return Segment(serial, none, np.zeros(1, np.int64), none, none, documents)
    keys = terms.astype(np.int64) << 32
    keys |= docs
    keys.sort()
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    tfs = np.diff(np.append(first, len(keys))).astype(np.int32)
    keys = keys[first]
    return from_keys(serial, keys, tfs, documents)


def from_keys(serial: int, keys: Offsets, tfs: Ints, documents: int) -> Segment:
    """A segment from ascending, distinct ``term << 32 | slot`` keys and their counts."""
    term_of = (keys >> 32).astype(np.int32)
    begins = np.flatnonzero(np.concatenate([[True], term_of[1:] != term_of[:-1]]))
    starts = np.append(begins, len(keys)).astype(np.int64)
    docs = (keys & 0xFFFFFFFF).astype(np.int32)
    return Segment(serial, term_of[begins], starts, docs, tfs, documents)


def merged(serial: int, parts: list[Segment], owner: Ints) -> Segment:
    """One segment with the live documents of several."""
    keys, tfs = [], []
    for part in parts:
        key = np.repeat(part.terms.astype(np.int64) << 32, np.diff(part.starts)) | part.docs
        tf = part.tfs
        if part.dead:
            alive = owner[part.docs] == part.serial
            key, tf = key[alive], tf[alive]
        keys.append(key)
        tfs.append(tf)
    all_keys, all_tfs = np.concatenate(keys), np.concatenate(tfs)
    # Each part is sorted: merging runs is what the stable sort of integers is fast at.
    order = np.argsort(all_keys, kind="stable")
    documents = sum(part.live for part in parts)
    if not len(all_keys):
        return sealed(serial, np.empty(0, np.int32), np.empty(0, np.int32), documents)
    return from_keys(serial, all_keys[order], all_tfs[order], documents)
