"""BM25: an exact, incremental index over NumPy arrays, and optional engines with its interface.

``index`` is the whole; ``tail`` holds what was added one by one, ``segment`` what is sealed,
``ranking`` finds the best scores, ``snapshot`` is the format on disk. ``engine`` is the contract
that ``tantivy_engine`` and ``rank_bm25_engine`` also keep.
"""

from __future__ import annotations

from sage.middleware.search.bm25.engine import ENGINES, TextEngine, load_text_engine, text_engine
from sage.middleware.search.bm25.index import BM25Index
from sage.middleware.search.bm25.snapshot import SnapshotError

__all__ = [
    "ENGINES",
    "BM25Index",
    "SnapshotError",
    "TextEngine",
    "load_text_engine",
    "text_engine",
]
