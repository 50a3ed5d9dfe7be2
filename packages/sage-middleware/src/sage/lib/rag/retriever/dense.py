"""``DenseRetriever``: passages by the similarity of vectors."""

from __future__ import annotations

from sage.lib.rag.retriever.base import Retriever


class DenseRetriever(Retriever):
    """Finds the passages whose vectors are nearest to the question's; scores are cosines.

    Searches the collection ``collection_name`` of the service ``memory_service`` where one is
    registered, else of the memory manager in ``data_dir``. ``mode`` switches to ``bm25`` or
    ``hybrid`` search of the same collection.

    Example:
        >>> stream.map(DenseRetriever, {"collection_name": "knowledge_base", "top_k": 5})
    """

    default_mode = "dense"
