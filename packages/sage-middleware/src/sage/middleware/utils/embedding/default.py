"""``default``: the best model that works here without a network."""

from __future__ import annotations

from typing import Any

from sage.middleware.utils.embedding.bert.minilm import MiniLMEmbedder, is_installed
from sage.middleware.utils.embedding.hashing import HashEmbedder
from sage.middleware.utils.embedding.model import EmbeddingModel


def default_model(**settings: Any) -> EmbeddingModel:
    """Make ``minilm`` when its package and its runtime are installed, else ``hash``.

    The answer's ``name`` and ``fingerprint`` say which. Name the model outright where a collection
    must stay readable on machines with other packages.

    Args:
        settings: ``batch_size``, ``cache_bytes``, ``cache_path``: what both models take.
    """
    return MiniLMEmbedder(**settings) if is_installed() else HashEmbedder(**settings)
