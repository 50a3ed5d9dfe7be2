"""Retrievers: a question in, its passages out, best first."""

from sage.lib.rag.retriever.bm25 import BM25Retriever
from sage.lib.rag.retriever.chroma import ChromaRetriever
from sage.lib.rag.retriever.dense import DenseRetriever
from sage.lib.rag.retriever.graph import GraphRetriever
from sage.lib.rag.retriever.hybrid import HybridRetriever
from sage.lib.rag.retriever.hyde import HyDERetriever
from sage.lib.rag.retriever.memory import MemoryRetriever
from sage.lib.rag.retriever.multi_query import MultiQueryRetriever
from sage.lib.rag.retriever.parent import ParentDocumentRetriever

__all__ = [
    "BM25Retriever",
    "ChromaRetriever",
    "DenseRetriever",
    "GraphRetriever",
    "HyDERetriever",
    "HybridRetriever",
    "MemoryRetriever",
    "MultiQueryRetriever",
    "ParentDocumentRetriever",
]
