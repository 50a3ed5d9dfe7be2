"""Retrievers: a question in, its passages out, best first."""

from sage.lib.rag.retriever.bm25 import BM25Retriever
from sage.lib.rag.retriever.dense import DenseRetriever
from sage.lib.rag.retriever.hybrid import HybridRetriever

__all__ = ["BM25Retriever", "DenseRetriever", "HybridRetriever"]
