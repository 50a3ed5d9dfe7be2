"""Embedding models: ``embedding_api.apply_embedding_model(name)`` makes the one behind a name."""

from sage.middleware.utils.embedding.embedding_api import apply_embedding_model, embedding_names
from sage.middleware.utils.embedding.model import EmbeddingModel, EmbeddingUsage

__all__ = ["EmbeddingModel", "EmbeddingUsage", "apply_embedding_model", "embedding_names"]
