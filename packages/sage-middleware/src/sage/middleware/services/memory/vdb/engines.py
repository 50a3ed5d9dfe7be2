"""Approximate scans over all slots: they propose candidates, exact scores decide.

An engine covers the slots ``0 … count - 1`` in order and only grows. Deleted slots stay in it and
are masked. All engines rank by inner product of what they were given.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sage.common.errors import MissingExtraError
from sage.middleware.services.memory.vdb.filters import BoolArray

FloatArray = npt.NDArray[np.float32]
Slots = npt.NDArray[np.int64]
_SAMPLE_ROWS = 1024


class ScanEngine(Protocol):
    """What the planner needs of an engine; all methods may be called by many threads."""

    name: str
    oversample: int
    """Candidates to score exactly for each result wanted, for recall@10 ≥ 0.99."""

    @property
    def count(self) -> int:
        """Slots covered."""

    def add(self, vectors: FloatArray) -> None:
        """Cover the next ``len(vectors)`` slots; one thread at a time."""

    def candidates(self, query: FloatArray, limit: int, mask: BoolArray | None) -> Slots:
        """About the ``limit`` best slots, in any order; ``mask`` may be shorter than ``count``."""

    def save(self, path: Path) -> None:
        """Write everything to one file."""


class TurbovecEngine:
    """4-bit codes scanned by SIMD code (the extra ``turbovec``)."""

    name = "turbovec"
    oversample = 3

    def __init__(self, dim: int, sample: FloatArray | None = None) -> None:
        module = _turbovec()
        self._width = -(-dim // 8) * 8
        self._index: Any = module.TurboQuantIndex(dim=self._width, bit_width=4)
        if sample is not None and len(sample) > 1:
            self._index.calibrate(self._pad(sample))

    @classmethod
    def load(cls, path: Path, dim: int) -> TurbovecEngine:
        """An engine as ``save`` left it."""
        engine = cls.__new__(cls)
        engine._width = -(-dim // 8) * 8
        engine._index = _turbovec().TurboQuantIndex.load(str(path))
        engine._index.prepare()
        return engine

    def _pad(self, vectors: FloatArray) -> FloatArray:
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.shape[1] == self._width:
            return vectors
        return np.pad(vectors, ((0, 0), (0, self._width - vectors.shape[1])))

    @staticmethod
    def sample_rows(count: int) -> int:
        """How many rows to learn from in a collection of ``count``."""
        return min(count, _SAMPLE_ROWS)

    @property
    def count(self) -> int:
        """Slots covered."""
        return len(self._index)

    def add(self, vectors: FloatArray) -> None:
        """Cover the next ``len(vectors)`` slots."""
        self._index.add(self._pad(vectors))

    def candidates(self, query: FloatArray, limit: int, mask: BoolArray | None) -> Slots:
        """About the ``limit`` best slots, in any order."""
        wanted = self._pad(query[None])
        if mask is None:
            return np.asarray(self._index.search(wanted, limit)[1][0], np.int64)
        while True:
            fitted = fit(mask, len(self._index))
            try:
                return np.asarray(self._index.search(wanted, limit, mask=fitted)[1][0], np.int64)
            except ValueError:
                # The index grew between the length and the search: fit the mask again.
                if len(fitted) == len(self._index):
                    raise

    def save(self, path: Path) -> None:
        """Write everything to one file."""
        self._index.write(str(path), durable=False)


class SignBitEngine:
    """One bit per dimension, of the centred and rotated vector; NumPy only.

    The rotation spreads the variance over the bits, which a few strong dimensions would keep to
    themselves. Hamming distance ranks; it is coarse, hence many candidates.
    """

    name = "numpy"
    oversample = 80

    def __init__(self, dim: int, sample: FloatArray | None = None) -> None:
        rng = np.random.default_rng(0)
        self._rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
        self.centre = np.zeros(dim, np.float32)
        if sample is not None and len(sample):
            self.centre = sample.mean(axis=0, dtype=np.float32)
        self._words = -(-dim // 64)
        self._codes = np.empty((0, self._words), np.uint64)
        self._count = 0

    @classmethod
    def load(cls, path: Path, dim: int) -> SignBitEngine:
        """An engine as ``save`` left it."""
        engine = cls(dim)
        with path.open("rb") as file:
            engine.centre = np.load(file, allow_pickle=False)
            engine._codes = np.load(file, allow_pickle=False)
        engine._count = len(engine._codes)
        return engine

    def encode(self, vectors: FloatArray) -> npt.NDArray[np.uint64]:
        """Sign bits, ``(n, ceil(dim / 64))`` words."""
        bits = np.packbits((vectors - self.centre) @ self._rotation > 0, axis=1)
        padded = np.zeros((len(bits), 8 * self._words), np.uint8)
        padded[:, : bits.shape[1]] = bits
        return padded.view(np.uint64)

    @staticmethod
    def sample_rows(count: int) -> int:
        """How many rows to learn from in a collection of ``count``."""
        return min(count, _SAMPLE_ROWS)

    @property
    def count(self) -> int:
        """Slots covered."""
        return self._count

    def add(self, vectors: FloatArray) -> None:
        """Cover the next ``len(vectors)`` slots."""
        end = self._count + len(vectors)
        if end > len(self._codes):
            grown = np.empty((max(end, 3 * len(self._codes) // 2), self._words), np.uint64)
            grown[: self._count] = self._codes[: self._count]
            self._codes = grown
        for start in range(0, len(vectors), 8192):
            part = vectors[start : start + 8192]
            begin = self._count + start
            self._codes[begin : begin + len(part)] = self.encode(part)
        self._count = end

    def candidates(self, query: FloatArray, limit: int, mask: BoolArray | None) -> Slots:
        """About the ``limit`` best slots, in any order."""
        codes = self._codes[: self._count]
        slots: Slots | None = None
        if mask is not None:
            slots = np.flatnonzero(mask[: len(codes)])
            if 2 * len(slots) < len(codes):
                codes = codes[slots]
            else:
                slots = None
        distance = hamming(codes, self.encode(query[None])[0])
        if mask is not None and slots is None:
            distance[~fit(mask, len(codes))] = np.iinfo(np.int16).max
        limit = min(limit, len(distance))
        if limit == 0:
            return np.empty(0, np.int64)
        best = np.argpartition(distance, limit - 1)[:limit]
        if mask is not None and slots is None:
            best = best[mask[best]]
        return best if slots is None else slots[best]

    def save(self, path: Path) -> None:
        """Write everything to one file."""
        with path.open("wb") as file:
            np.save(file, self.centre)
            np.save(file, self._codes[: self._count])

    def recentre(self, centre: FloatArray) -> None:
        """Take the centre that codes made elsewhere used; before anything is encoded."""
        self.centre = centre


def hamming(codes: npt.NDArray[np.uint64], query: npt.NDArray[np.uint64]) -> npt.NDArray[np.int16]:
    """Bits in which each row of ``codes`` differs from ``query``, ``(n,)``."""
    distance = np.zeros(len(codes), np.int16)
    for word in range(codes.shape[1]):
        distance += np.bitwise_count(codes[:, word] ^ query[word])
    return distance


def fit(mask: BoolArray, length: int) -> BoolArray:
    """The mask at another length; new slots are not in it."""
    if len(mask) == length:
        return np.ascontiguousarray(mask)
    fitted = np.zeros(length, np.bool_)
    part = mask[:length]
    fitted[: len(part)] = part
    return fitted


def _turbovec() -> Any:
    try:
        return importlib.import_module("turbovec")
    except ImportError as exc:
        raise MissingExtraError("turbovec", "turbovec", "engine='turbovec'") from exc


_lock = threading.Lock()
_default: list[str] = []


def default_engine() -> str:
    """``turbovec`` if it loads here, else ``numpy``."""
    with _lock:
        if not _default:
            try:
                importlib.import_module("turbovec")
                _default.append("turbovec")
            except ImportError:  # not installed, or no build for this processor
                _default.append("numpy")
        return _default[0]


def pick_sample(slots: Slots, rows: int) -> Slots:
    """A uniform sample of the slots, ascending, for calibration."""
    if len(slots) <= rows:
        return slots
    return np.sort(np.random.default_rng(0).choice(slots, rows, replace=False))
