"""Refiners: the passages of a question in, less of them out."""

from sage.lib.rag.refiner.compressor import ContextCompressor
from sage.lib.rag.refiner.deduplicate import Deduplicate
from sage.lib.rag.refiner.long_refiner import LongRefinerAdapter

__all__ = ["ContextCompressor", "Deduplicate", "LongRefinerAdapter"]
