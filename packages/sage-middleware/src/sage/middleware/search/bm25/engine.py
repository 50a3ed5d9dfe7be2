"""What every BM25 engine can do, and engines by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError
from sage.middleware.search.bm25.index import BM25Index, Slots
from sage.middleware.search.bm25.rank_bm25_engine import RankBM25Engine
from sage.middleware.search.bm25.segment import Floats
from sage.middleware.search.bm25.tantivy_engine import TantivyEngine

ENGINES = ("sage", "tantivy", "rank-bm25")
"""``sage``: exact, incremental, NumPy (the default). ``tantivy``: scores with rounded lengths, a
commit of some milliseconds before the first search after a change. ``rank-bm25``: everything anew
after a change, for comparisons."""


@runtime_checkable
class TextEngine(Protocol):
    """Ranks documents by words; see ``BM25Index`` for what the calls mean."""

    def __len__(self) -> int: ...

    def add(self, slots: Iterable[int], texts: Iterable[str]) -> None:
        """Adds or replaces documents, searchable on return."""

    def delete(self, slots: Iterable[int]) -> int:
        """Takes documents out; returns how many there were."""

    def search(
        self, query: str, topk: int = 10, allowed: npt.NDArray[np.bool_] | Slots | None = None
    ) -> tuple[Slots, Floats]:
        """Slots and scores, best first."""

    def save(self, folder: str | Path) -> None:
        """Writes a snapshot."""


def text_engine(name: str = "sage", **options: Any) -> TextEngine:
    """An empty index.

    Args:
        name: One of ``ENGINES``.
        options: Of ``BM25Index``; ``tantivy`` has k1 = 1.2 and b = 0.75 built in.

    Raises:
        ConfigError: The engine is not known, or cannot have an option.
        MissingExtraError: Its package is not installed.
    """
    match name:
        case "sage":
            return BM25Index(**options)
        case "tantivy":
            return TantivyEngine(**options)
        case "rank-bm25":
            return RankBM25Engine(**options)
    raise ConfigError(f"BM25 engine {name!r} is not known; expected one of {', '.join(ENGINES)}")


def load_text_engine(name: str, folder: str | Path) -> TextEngine:
    """The index that an engine of that name saved.

    Raises:
        SnapshotError: There is none, or it cannot be used.
    """
    match name:
        case "sage":
            return BM25Index.load(folder)
        case "tantivy":
            return TantivyEngine.load(folder)
        case "rank-bm25":
            return RankBM25Engine.load(folder)
    raise ConfigError(f"BM25 engine {name!r} is not known; expected one of {', '.join(ENGINES)}")
