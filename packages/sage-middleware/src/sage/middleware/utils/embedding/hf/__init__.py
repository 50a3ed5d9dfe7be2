"""Encoders of the ``transformers`` library: ``folder`` (what a model's files say) → ``model``."""

from sage.middleware.utils.embedding.hf.model import HuggingFaceEmbedder

__all__ = ["HuggingFaceEmbedder"]
