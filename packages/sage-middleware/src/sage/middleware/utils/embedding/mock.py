"""``mock``: deterministic random unit vectors, for tests that need vectors but no meaning."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sage.middleware.utils.embedding.model import EmbeddingModel, Kind


class MockEmbedder(EmbeddingModel):
    """A random unit vector per text, the same for the same text, seed and dimension everywhere."""

    def __init__(self, dim: int = 64, seed: int = 0, **settings: Any) -> None:
        super().__init__(name="mock", dim=dim, options={"dim": dim, "seed": seed}, **settings)
        self._width = dim
        self._seed = seed

    @property
    def fingerprint(self) -> str:
        """Seed and dimension."""
        return f"mock:seed={self._seed};dim={self._width}"

    def _encode(self, texts: Sequence[str], kind: Kind) -> npt.NDArray[np.floating[Any]]:
        rows = []
        for text in texts:
            data = f"{self._seed}\0{text}".encode("utf-8", "surrogatepass")
            seed = int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "little")
            rows.append(np.random.default_rng(seed).standard_normal(self._width))
        return np.stack(rows)
