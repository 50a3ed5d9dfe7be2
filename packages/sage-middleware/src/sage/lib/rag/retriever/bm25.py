"""``BM25Retriever``: passages by shared words."""

from __future__ import annotations

from sage.lib.rag.retriever.base import Retriever


class BM25Retriever(Retriever):
    """Finds passages by BM25 over stemmed words; needs no embedding model.

    Example:
        >>> stream.map(BM25Retriever, {"documents": "corpus.jsonl", "top_k": 5})
    """

    default_mode = "bm25"
