"""An inverted file: rows grouped by their nearest centroid, searched in the nearest groups only.

For collections too large to scan. Within the groups sign bits rank, as in the flat NumPy engine;
they lie together in memory by group. Rows added later wait in a tail that is scanned whole until it
is a tenth of the collection.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage.middleware.services.memory.vdb.engines import (
    FloatArray,
    SignBitEngine,
    Slots,
    fit,
    hamming,
)
from sage.middleware.services.memory.vdb.filters import BoolArray

Codes = npt.NDArray[np.uint64]
_ROUNDS = 8
_SAMPLE_PER_GROUP = 40
_BLOCK_ROWS = 8192
_TAIL_SHARE = 0.1
# 600,000 rows whose neighbours spread over 20 dimensions, recall@10 and ms: .06 .735 1.6; .12 .863
# 2.9; .2 .943 4.2; .3 .968 7.1; all .997 26. What is lost lies in groups not probed.
_PROBED_SHARE = 0.3
_LEAST_PROBED = 16


class _Groups:
    """Sealed rows by group; replaced as a whole, so that searches need no lock."""

    __slots__ = ("_places", "codes", "slots", "starts")

    def __init__(self, starts: Slots, slots: Slots, codes: Codes) -> None:
        self.starts = starts
        self.slots = slots
        self.codes = codes
        self._places: npt.NDArray[np.int32] | None = None

    def of_slots(self, slots: Slots) -> Codes:
        """The codes of sealed slots."""
        places = self._places
        if places is None:
            places = np.empty(len(self.slots), np.int32)
            places[self.slots] = np.arange(len(self.slots), dtype=np.int32)
            self._places = places
        found: Codes = self.codes[places[slots]]
        return found

    def of_groups(self, groups: Slots) -> tuple[Slots, Codes]:
        """The slots of some groups and their codes."""
        ranges = [(self.starts[g], self.starts[g + 1]) for g in groups]
        return (
            np.concatenate([self.slots[a:b] for a, b in ranges]),
            np.concatenate([self.codes[a:b] for a, b in ranges]),
        )


class IvfEngine:
    """Inverted file over sign bits; NumPy only.

    Args:
        dim: Elements of a vector.
        sample: Rows to learn the centroids from, about 40 per centroid.
    """

    name = "ivf"
    oversample = 80

    def __init__(self, dim: int, sample: FloatArray | None = None) -> None:
        self._bits = SignBitEngine(dim, sample)
        learn = np.zeros((1, dim), np.float32) if sample is None or not len(sample) else sample
        self._centroids = _centroids(np.array(learn, np.float32))
        words = -(-dim // 64)
        self._groups = _Groups(
            np.zeros(len(self._centroids) + 1, np.int64),
            np.empty(0, np.int64),
            np.empty((0, words), np.uint64),
        )
        self._tail_groups = np.empty(0, np.int64)
        self._tail_codes = np.empty((0, words), np.uint64)
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: Path, dim: int) -> IvfEngine:
        """An engine as ``save`` left it."""
        engine = cls(dim)
        with path.open("rb") as file:
            engine._centroids = np.load(file, allow_pickle=False)
            starts, slots, codes, centre = (np.load(file, allow_pickle=False) for _ in range(4))
        engine._groups = _Groups(starts, slots, codes)
        engine._bits.recentre(centre)
        return engine

    @staticmethod
    def sample_rows(count: int) -> int:
        """How many rows to learn from in a collection of ``count``."""
        return min(count, _SAMPLE_PER_GROUP * _group_count(count))

    @property
    def count(self) -> int:
        """Slots covered."""
        return len(self._groups.slots) + len(self._tail_groups)

    def add(self, vectors: FloatArray) -> None:
        """Cover the next ``len(vectors)`` slots."""
        groups, codes = [self._tail_groups], [self._tail_codes]
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = vectors[start : start + _BLOCK_ROWS]
            groups.append(_nearest(block, self._centroids))
            codes.append(self._bits.encode(block))
        with self._lock:
            self._tail_codes = np.concatenate(codes)
            self._tail_groups = np.concatenate(groups)
            if len(self._tail_groups) > max(_BLOCK_ROWS, _TAIL_SHARE * self.count):
                self._seal()

    def _seal(self) -> None:
        old = self._groups
        sealed = len(old.slots)
        of_old = np.repeat(np.arange(len(self._centroids)), np.diff(old.starts))
        group = np.concatenate([of_old, self._tail_groups])
        order = np.argsort(group, kind="stable")
        slots = np.concatenate([old.slots, sealed + np.arange(len(self._tail_groups))])[order]
        codes = np.concatenate([old.codes, self._tail_codes])[order]
        starts = np.zeros(len(self._centroids) + 1, np.int64)
        np.cumsum(np.bincount(group, minlength=len(self._centroids)), out=starts[1:])
        self._groups = _Groups(starts, slots, codes)
        self._tail_groups = self._tail_groups[:0]
        self._tail_codes = self._tail_codes[:0]

    def candidates(self, query: FloatArray, limit: int, mask: BoolArray | None) -> Slots:
        """About the ``limit`` best slots, in any order."""
        with self._lock:
            groups, tail = self._groups, self._tail_codes
        bits = self._bits.encode(query[None])[0]
        sealed, every = len(groups.slots), len(self._centroids)
        tail_slots = sealed + np.arange(len(tail))
        passing: Slots | None = None
        if mask is not None:
            mask = fit(mask, sealed + len(tail))
            passing = np.flatnonzero(mask)
            tail_slots = passing[np.searchsorted(passing, sealed) :]
            tail = tail[tail_slots - sealed]
            passing = passing[: len(passing) - len(tail_slots)]
        share = 1.0 if passing is None else len(passing) / max(1, sealed)
        # A filter that lets few rows pass needs more groups for as many candidates.
        probed = max(_LEAST_PROBED, math.ceil(_PROBED_SHARE * every / max(share, 1e-6)))
        order = np.argsort(-_closeness(query[None], self._centroids)[0])
        while True:
            if passing is not None and probed >= every:
                slots, codes = passing, groups.of_slots(passing)
            else:
                slots, codes = groups.of_groups(order[:probed])
                if mask is not None:
                    kept = mask[slots]
                    slots, codes = slots[kept], codes[kept]
            slots, codes = np.concatenate([slots, tail_slots]), np.concatenate([codes, tail])
            if len(slots) >= limit or probed >= every:
                break
            probed *= 2
        if len(slots) > limit:
            slots = slots[np.argpartition(hamming(codes, bits), limit - 1)[:limit]]
        return slots

    def save(self, path: Path) -> None:
        """Write everything to one file."""
        with self._lock:
            self._seal()
            parts = (self._centroids, self._groups.starts, self._groups.slots, self._groups.codes)
        with path.open("wb") as file:
            for part in (*parts, self._bits.centre):
                np.save(file, part)


def _group_count(rows: int) -> int:
    return max(1, round(math.sqrt(rows)))


def _closeness(rows: FloatArray, centroids: FloatArray) -> FloatArray:
    """Negative squared distances, up to a constant per row; ``(n, groups)``."""
    half = 0.5 * np.einsum("ij,ij->i", centroids, centroids)
    close: FloatArray = rows @ centroids.T - half
    return close


def _nearest(rows: FloatArray, centroids: FloatArray) -> Slots:
    return np.asarray(np.argmax(_closeness(rows, centroids), axis=1), np.int64)


def _centroids(sample: FloatArray) -> FloatArray:
    """k-means; a group that became empty starts again at a random row."""
    rng = np.random.default_rng(0)
    count = max(1, len(sample) // _SAMPLE_PER_GROUP)
    centroids = sample[rng.choice(len(sample), count, replace=False)].copy()
    for _ in range(_ROUNDS):
        group = np.concatenate(
            [
                _nearest(sample[start : start + _BLOCK_ROWS], centroids)
                for start in range(0, len(sample), _BLOCK_ROWS)
            ]
        )
        sizes = np.bincount(group, minlength=count)
        order = np.argsort(group, kind="stable")
        full = np.flatnonzero(sizes)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])[full]
        centroids[full] = np.add.reduceat(sample[order], starts) / sizes[full, None]
        empty = np.flatnonzero(sizes == 0)
        centroids[empty] = sample[rng.integers(0, len(sample), len(empty))]
    return centroids
