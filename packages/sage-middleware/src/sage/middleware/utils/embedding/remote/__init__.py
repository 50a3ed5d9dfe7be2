"""Embedding models behind HTTP: ``transport``, ``pace`` → ``model`` → one module per protocol."""

from sage.middleware.utils.embedding.remote.cohere import CohereEmbedder
from sage.middleware.utils.embedding.remote.jina import JinaEmbedder
from sage.middleware.utils.embedding.remote.model import RemoteEmbedder
from sage.middleware.utils.embedding.remote.ollama import OllamaEmbedder
from sage.middleware.utils.embedding.remote.openai import OpenAIEmbedder

__all__ = [
    "CohereEmbedder",
    "JinaEmbedder",
    "OllamaEmbedder",
    "OpenAIEmbedder",
    "RemoteEmbedder",
]
