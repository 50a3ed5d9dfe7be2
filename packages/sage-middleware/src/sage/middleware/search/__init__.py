"""Text search and rank fusion: what the memory collections and retrievers search with.

Reading order: ``text`` turns a text into terms, ``bm25`` ranks documents by those terms,
``fusion`` joins that ranking with one by vectors. Predecessor: ``sage.middleware.utils.embedding``
(vectors); successor: ``sage.middleware.services.memory``.
"""

from __future__ import annotations

from sage.middleware.search.bm25 import BM25Index
from sage.middleware.search.fusion import fuse
from sage.middleware.search.text import Analyzer

__all__ = ["Analyzer", "BM25Index", "fuse"]
