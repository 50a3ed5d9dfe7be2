"""Pairs of texts that repeat each other; ``(earlier, later)``, in order of both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sage.middleware.search.text import tokenize

Shingles = frozenset[int]
_PRIME = (1 << 61) - 1


def same(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Texts of the same words; texts without any word are compared as they are."""
    first: dict[tuple[str, ...], int] = {}
    for n, text in enumerate(texts):
        key = tuple(tokenize(text)) or ("", text.strip())
        if (earlier := first.setdefault(key, n)) != n:
            yield earlier, n


def shingles(text: str, size: int) -> Shingles:
    """Hashes (64 bits) of the runs of ``size`` words; of all words when there are fewer."""
    words = tokenize(text)
    runs = [words[n : n + size] for n in range(max(1, len(words) - size + 1))] if words else []
    return frozenset(
        int.from_bytes(hashlib.blake2b("\x1f".join(run).encode(), digest_size=8).digest(), "big")
        for run in runs
    )


def alike(sets: Sequence[Shingles], threshold: float, measure: str) -> Iterator[tuple[int, int]]:
    """Pairs whose sets are alike, comparing every pair."""
    for n, later in enumerate(sets):
        for m, earlier in enumerate(sets[:n]):
            if _similarity(earlier, later, measure) >= threshold:
                yield m, n


def near(vectors: npt.NDArray[np.float32], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of vectors whose cosine is at least ``threshold``."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1)
    cosines = unit @ unit.T
    for n in range(1, len(vectors)):
        # Rounding may take the cosine of equal vectors below 1.
        for m in np.flatnonzero(cosines[n, :n] >= threshold - 1e-6):
            yield int(m), n


def by_minhash(
    sets: Sequence[Shingles], threshold: float, permutations: int = 128
) -> Iterator[tuple[int, int]]:
    """Pairs with a Jaccard coefficient of at least ``threshold``, with few comparisons.

    Signatures are cut into bands; sets that agree in a whole band are compared exactly, so every
    pair returned is one. Bands are so narrow that a pair at the threshold is found with a
    probability of at least 0.99.

    Source: A. Broder et al., Min-wise independent permutations, JCSS 60(3), 2000; bands as in
    J. Leskovec, A. Rajaraman, J. Ullman, Mining of Massive Datasets, chapter 3.
    """
    rows = _rows(threshold, permutations)
    signatures = [_signature(found, permutations) for found in sets]
    buckets: dict[tuple[int, bytes], list[int]] = {}
    for n, signature in enumerate(signatures):
        if signature is None:
            continue
        candidates: set[int] = set()
        for band in range(0, permutations - rows + 1, rows):
            bucket = buckets.setdefault((band, signature[band : band + rows].tobytes()), [])
            candidates.update(bucket)
            bucket.append(n)
        for m in sorted(candidates):
            if _similarity(sets[m], sets[n], "jaccard") >= threshold:
                yield m, n


def _similarity(first: Shingles, second: Shingles, measure: str) -> float:
    if not first or not second:
        return 0.0
    shared = len(first & second)
    if measure == "containment":
        return shared / min(len(first), len(second))
    return shared / (len(first) + len(second) - shared)


def _rows(threshold: float, permutations: int) -> int:
    """The widest band with which a pair at the threshold is still missed in 1 of 100 cases."""
    fitting = [
        rows for rows in range(1, 17) if (1 - threshold**rows) ** (permutations // rows) <= 0.01
    ]
    return max(fitting, default=1)


def _signature(found: Shingles, permutations: int) -> npt.NDArray[np.uint64] | None:
    if not found:
        return None
    values = np.fromiter(found, np.uint64, len(found))
    rng = np.random.default_rng(1)  # the same permutations for every set, in every process
    factors = rng.integers(1, _PRIME, permutations, dtype=np.uint64) | np.uint64(1)
    offsets = rng.integers(0, _PRIME, permutations, dtype=np.uint64)
    # Multiply-shift hashing: overflow of 64 bits is the modulus.
    mixed = values[None, :] * factors[:, None] + offsets[:, None]
    lowest: npt.NDArray[np.uint64] = (mixed >> np.uint64(16)).min(axis=1)
    return lowest
