"""The embedding model of a collection: given as an object, by name, or not at all."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sage.middleware.services.memory.errors import EmbeddingMismatchError, InvalidInputError
from sage.middleware.services.memory.vdb.metrics import FloatArray
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model


class Embedder:
    """A model with ``embed(text)`` or ``embed_many(texts)``, made on first use when named.

    Args:
        model: An ``EmbeddingModel``, any object with ``embed`` or ``embed_many``, a name for
            ``apply_embedding_model``, the ``spec`` of a model, or ``None``.
    """

    def __init__(self, model: Any) -> None:
        self._lock = threading.Lock()
        self._spec: Mapping[str, Any] | None = None
        self._model: Any = None
        if isinstance(model, str):
            self._spec = {"name": model}
        elif isinstance(model, Mapping):
            self._spec = dict(model)
        elif model is not None and not hasattr(model, "embed"):
            raise InvalidInputError(
                f"embedding_model is {model!r}; expected an EmbeddingModel "
                "(apply_embedding_model(name)), a name such as 'default', or None"
            )
        else:
            self._model = model

    def __bool__(self) -> bool:
        return self._model is not None or self._spec is not None

    @property
    def model(self) -> Any:
        """The model itself; loads it."""
        with self._lock:
            if self._model is None and self._spec is not None:
                self._model = apply_embedding_model(**self._spec)
            return self._model

    @property
    def fingerprint(self) -> str:
        """What identifies model and settings; the class name for objects that do not say."""
        model = self.model
        kind = type(model)
        default = f"{kind.__module__}.{kind.__qualname__}"
        return str(getattr(model, "fingerprint", getattr(model, "name", default)))

    @property
    def spec(self) -> dict[str, Any] | None:
        """What makes the model again, if it can be said."""
        spec = getattr(self.model, "spec", None)
        return dict(spec) if isinstance(spec, Mapping) else None

    @property
    def dim(self) -> int:
        """Elements of a vector."""
        model = self.model
        return int(model.get_dim()) if hasattr(model, "get_dim") else len(self.query("dimension"))

    def documents(self, texts: Sequence[str]) -> FloatArray:
        """``(n, dim)`` vectors to store."""
        model = self.model
        if hasattr(model, "embed_many"):
            return np.asarray(model.embed_many(texts), np.float32)
        return np.asarray([model.embed(t) for t in texts], np.float32)

    def query(self, text: str) -> FloatArray:
        """``(dim,)`` vector to search with; models that distinguish embed it as a question."""
        vector: FloatArray = self.queries([text])[0]
        return vector

    def queries(self, texts: Sequence[str]) -> FloatArray:
        """``(n, dim)`` vectors to search with."""
        model = self.model
        if hasattr(model, "embed_many"):
            if "kind" in inspect.signature(model.embed_many).parameters:
                return np.asarray(model.embed_many(texts, kind="query"), np.float32)
            return np.asarray(model.embed_many(texts), np.float32)
        return np.asarray([model.embed(t) for t in texts], np.float32)

    def check(self, expected: str) -> None:
        """Refuse a model other than the collection's.

        Raises:
            EmbeddingMismatchError: The fingerprints differ.
        """
        if self.fingerprint != expected:
            raise EmbeddingMismatchError(
                f"the collection was built with the embedding model {expected!r}, this is "
                f"{self.fingerprint!r}: their vectors cannot be compared; connect with the first, "
                "or create a new collection and import the texts",
                found=self.fingerprint,
                expected=expected,
            )


class WithModel:
    """The model of a vector collection. The mix-in needs what is annotated."""

    _embedder: Embedder

    @property
    def embedding_fingerprint(self) -> str | None:
        """Which embedding model made the vectors; ``None`` if they came ready."""
        raise NotImplementedError

    def use_model(self, embedding_model: Any) -> None:
        """Embed with this model from now on.

        Raises:
            EmbeddingMismatchError: The collection was built with another one.
        """
        embedder = Embedder(embedding_model)
        if embedder and self.embedding_fingerprint is not None:
            embedder.check(self.embedding_fingerprint)
        self._embedder = embedder

    def _check_model(self) -> None:
        fingerprint = self.embedding_fingerprint
        if fingerprint is not None:
            self._embedder.check(fingerprint)
