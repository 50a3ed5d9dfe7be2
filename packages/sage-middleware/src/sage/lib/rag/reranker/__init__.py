"""Rerankers: the passages of a question in, the same passages in a better order out."""

from sage.lib.rag.reranker.cross_encoder import CrossEncoderReranker
from sage.lib.rag.reranker.light import LightReranker
from sage.lib.rag.reranker.llm import LLMbasedReranker
from sage.lib.rag.reranker.lost_in_the_middle import LostInTheMiddleReranker
from sage.lib.rag.reranker.mmr import MMRReranker
from sage.lib.rag.reranker.threshold import ScoreThreshold

__all__ = [
    "CrossEncoderReranker",
    "LLMbasedReranker",
    "LightReranker",
    "LostInTheMiddleReranker",
    "MMRReranker",
    "ScoreThreshold",
]
