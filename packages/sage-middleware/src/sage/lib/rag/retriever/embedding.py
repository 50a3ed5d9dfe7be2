"""The embedding model of a retriever: a function, a model or its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError
from sage.middleware.services.memory.vdb.embedder import Embedder

Vectors = npt.NDArray[np.float32]


class Embedding:
    """Vectors of documents and questions.

    Args:
        given: ``text -> vector``, an ``EmbeddingModel``, or a name for ``apply_embedding_model``
            (``"default"`` when ``None``). What was made by name is closed by ``close``.

    Raises:
        ConfigError: It is something else.
    """

    def __init__(self, given: Any = None) -> None:
        self._owned = given is None or isinstance(given, str)
        if self._owned:
            self._model: Any = Embedder(given or "default")
        elif hasattr(given, "embed"):
            self._model = Embedder(given)
        elif callable(given):
            self._model = Embedder(_Function(given))
        else:
            raise ConfigError(
                "embed must be a callable, an EmbeddingModel or the name of an embedding model, "
                f"got {given!r}"
            )

    def documents(self, texts: Sequence[str]) -> Vectors:
        """``(n, dim)`` vectors of texts that are searched."""
        vectors: Vectors = self._model.documents(texts)
        return vectors

    def query(self, text: str) -> Vectors:
        """``(dim,)`` vector to search with."""
        return np.asarray(self._model.query(text), np.float32).reshape(-1)

    def close(self) -> None:
        """Close the model if it was made here."""
        if self._owned:
            close = getattr(self._model.model, "close", None)
            if close is not None:
                close()


class _Function:
    def __init__(self, function: Any) -> None:
        self.embed = function
