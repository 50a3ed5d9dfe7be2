"""``hash``: hashed character n-grams and words. No model, no download, deterministic everywhere.

A text is normalised (NFKC, case folded) and cut into words. Its features are the words, the
character 3- to 5-grams of each word with a blank on either side, and for scripts without blanks
(Chinese, Japanese, Korean) single characters and pairs. A feature that occurs ``n`` times weighs
``1 + ln n``; words count more than n-grams and function words next to nothing. Each feature is
added to one of ``dim`` places with a sign, place and sign taken from a 64-bit hash. The cosine of
two vectors is then close to that of the texts' weighted features.
Source: Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError
from sage.middleware.utils.embedding._stopwords import STOP_WORDS
from sage.middleware.utils.embedding.model import EmbeddingModel, Kind

Hashes = npt.NDArray[np.uint64]

DEFAULT_DIM = 768
# Chosen on Cranfield, SQuAD 2, LoCoMo and XQuAD (de, zh) together: benchmarks/memory/embed.py.
GRAMS = (3, 4, 5)
WORD_WEIGHT = 2.5
STOP_WEIGHT = 0.05
CJK_WEIGHTS = {1: 1.0, 2: 2.0}
# Changes whenever a text's vector changes: part of the fingerprint.
SCHEME = 1

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 2**64)
# Indic and Thai vowel signs are no word characters to ``re``, but must not cut words.
_WORD = re.compile(r"[\w\u0900-\u0dff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+")


class HashEmbedder(EmbeddingModel):
    """Hashed words and character n-grams, L2-normalised; an empty text gives the zero vector.

    Args:
        dim: Dimension of the vectors, 8 to 65,536. Quality grows with it: hashing noise in a cosine
            is about ``1 / sqrt(dim)``.
        batch_size, cache_bytes, cache_path: As for ``EmbeddingModel``.

    Raises:
        ConfigError: ``dim`` is out of range.
    """

    def __init__(self, dim: int = DEFAULT_DIM, **settings: Any) -> None:
        if not 8 <= dim <= 65536:
            raise ConfigError(f"embedding 'hash': dim must be 8 to 65536, got {dim}")
        super().__init__(name="hash", dim=dim, options={"dim": dim}, **settings)
        self._width = dim
        self._powers = _Powers()

    @property
    def fingerprint(self) -> str:
        """Scheme and dimension."""
        return f"hash:scheme={SCHEME};dim={self._width}"

    def _encode(self, texts: Sequence[str], kind: Kind) -> npt.NDArray[np.floating[Any]]:
        out = np.zeros((len(texts), self._width), np.float32)
        for row, text in enumerate(texts):
            hashes, weights = self._features(text)
            if len(hashes):
                out[row] = _project(hashes, weights, self._width)
        return out

    def _features(self, text: str) -> tuple[Hashes, npt.NDArray[np.float64]]:
        folded = unicodedata.normalize("NFKC", text).casefold()
        words = _WORD.findall(folded) or folded.split()
        if not words:
            return np.empty(0, np.uint64), np.empty(0)
        line = f" {' '.join(words)} ".encode("utf-32-le", "surrogatepass")
        points = np.frombuffer(line, "<u4").astype(np.uint64)
        blanks = points == 32
        word_at = np.concatenate(([0], np.cumsum(blanks)))
        edges = np.flatnonzero(blanks)
        word_weights = np.array([STOP_WEIGHT if word in STOP_WORDS else 1.0 for word in words])
        sums, inverses = self._powers.prefix_sums(points)

        def hashes_of(start: npt.NDArray[np.intp], end: npt.NDArray[np.intp], tag: int) -> Hashes:
            hashed: Hashes = (sums[end] - sums[start]) * inverses[start] + np.uint64(tag)
            return hashed

        hashes = [hashes_of(edges[:-1], edges[1:] + 1, 100)]
        weights = [word_weights * WORD_WEIGHT]
        for size in GRAMS:
            start = np.arange(max(len(points) - size + 1, 0))
            # A blank may stand at either end of an n-gram, never inside.
            start = start[word_at[start + size - 1] == word_at[start + 1]]
            hashes.append(hashes_of(start, start + size, size))
            weights.append(word_weights[np.maximum(word_at[start + 1] - 1, 0)])
        wide = _without_blanks(points)
        if wide.any():
            wide_at = np.concatenate(([0], np.cumsum(wide)))
            for size, weight in CJK_WEIGHTS.items():
                start = np.arange(len(points) - size + 1)
                start = start[wide_at[start + size] - wide_at[start] == size]
                hashes.append(hashes_of(start, start + size, 50 + size))
                weights.append(np.full(len(start), weight))
        unique, first, counts = np.unique(
            np.concatenate(hashes), return_index=True, return_counts=True
        )
        return unique, np.concatenate(weights)[first] * (1 + np.log(counts))


class _Powers:
    """Powers of the base and of its inverse modulo 2**64, as long as the longest text so far."""

    def __init__(self) -> None:
        self._tables = _power_tables(4096)

    def prefix_sums(self, points: Hashes) -> tuple[Hashes, Hashes]:
        """Sums ``s`` and factors ``f``: ``(s[j] - s[i]) * f[i]`` hashes ``points[i:j]``."""
        tables = self._tables
        if len(tables[0]) < len(points) + 1:
            tables = self._tables = _power_tables(2 * len(points))
        powers, inverses = tables
        sums = np.zeros(len(points) + 1, np.uint64)
        np.cumsum(_mix(points) * powers[: len(points)], out=sums[1:])
        return sums, inverses


def _power_tables(size: int) -> tuple[Hashes, Hashes]:
    tables = []
    for base in (_BASE, _INVERSE):
        factors = np.full(size, base, np.uint64)
        factors[0] = 1
        tables.append(np.cumprod(factors))
    return tables[0], tables[1]


def _mix(values: Hashes) -> Hashes:
    """Scramble 64-bit values one to one. Source: Steele et al. 2014, SplitMix64's finaliser."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


def _project(hashes: Hashes, weights: npt.NDArray[np.float64], dim: int) -> npt.NDArray[np.float64]:
    mixed = _mix(hashes)
    signs = 1.0 - 2.0 * (mixed >> np.uint64(63)).astype(np.float64)
    places = ((mixed & np.uint64(0xFFFFFFFF)) * np.uint64(dim)) >> np.uint64(32)
    sums: npt.NDArray[np.float64] = np.bincount(places.astype(np.intp), weights * signs, dim)  # type: ignore[assignment]
    return sums


def _without_blanks(points: Hashes) -> npt.NDArray[np.bool_]:
    """Code points of scripts written without blanks between words: Han, kana, and Hangul."""
    wide = (points >= 0x2E80) & (points < 0xA000)
    wide |= (points >= 0xAC00) & (points < 0xD7B0)
    wide |= (points >= 0xF900) & (points < 0xFB00)
    wide |= (points >= 0x20000) & (points < 0x32000)
    return wide
