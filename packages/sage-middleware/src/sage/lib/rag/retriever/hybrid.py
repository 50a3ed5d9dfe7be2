"""``HybridRetriever``: passages by vectors and words together."""

from __future__ import annotations

from sage.lib.rag.retriever.base import Retriever


class HybridRetriever(Retriever):
    """Fuses dense and BM25 search: good also where the embedding model is weak.

    Scores are in ``[0, 1]``. A collection fuses by its own rule; documents given directly by the
    mean of both scores, each scaled over its 100 best.

    Example:
        >>> stream.map(HybridRetriever, {"collection_name": "knowledge_base"})
    """

    default_mode = "hybrid"
