"""``Embed``: adds the vector of its text to a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sage.api.functions import MapFunction
from sage.common.errors import ConfigError
from sage.lib.adapt import as_document
from sage.lib.contracts import DocumentLike
from sage.lib.types import Document
from sage.middleware.utils.embedding.embedding_api import EmbeddingModel, apply_embedding_model

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class Embed(MapFunction[DocumentLike, Document]):
    """Embeds documents in the batches that form by themselves while the model is busy.

    The vector is ``metadata[field]``: a list of floats of length 1 (L2), as the model gives it,
    and ``metadata[field + "_model"]`` the model's fingerprint, so that vectors of two models are
    never compared by mistake. Set ``batch_size`` on the step to bound a batch.

    Example:
        >>> stream.map(Embed, {"method": "hash"}, batch_size=64)
    """

    calls_on_behalf = True  # what a hosted model is paid for is recorded per text

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            method: A name for ``apply_embedding_model`` (``default``, ``hash``, ``minilm``,
                ``openai``, …) or a ready ``EmbeddingModel``, which the caller closes.
            options: Settings of the model, such as ``model``, ``dim`` or ``base_url``.
            field: Key of the metadata for the vector.
            kind: ``document`` or ``query``, for models that embed these differently.
        """

        method: Any = "default"
        options: dict[str, Any] = attrs.field(factory=dict)
        field: str = attrs.field(default="vector", validator=attrs.validators.min_len(1))
        kind: str = attrs.field(
            default="document", validator=attrs.validators.in_(("document", "query"))
        )

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        if not isinstance(self.config.method, str | EmbeddingModel):
            raise ConfigError(
                "Embed: method must be the name of an embedding model or an EmbeddingModel, got "
                f"{self.config.method!r}"
            )
        self._model: EmbeddingModel | None = None

    def open(self, ctx: RuntimeContext) -> None:
        """Make the model.

        Raises:
            UnknownNameError: No embedding model has that name.
            ConfigError: A setting of it is wrong.
            MissingExtraError: It needs a package that is not installed.
        """
        self._model = apply_embedding_model(self.config.method, **self.config.options)

    def execute(self, item: DocumentLike) -> Document:
        """The document with its vector.

        Raises:
            ItemError: The item has no text.
            ModelError: The model could not be reached or refused.
        """
        return self.execute_batch([item])[0]

    def execute_batch(self, items: list[DocumentLike]) -> list[Document]:
        """The documents with their vectors, in order; one call of the model."""
        model = self._model
        assert model is not None, "open() comes before execute_batch()"
        documents = [as_document(item) for item in items]
        vectors = model.embed_many([d.text for d in documents], kind=self.config.kind)
        field, fingerprint = self.config.field, model.fingerprint
        return [
            attrs.evolve(
                document,
                metadata={
                    **document.metadata,
                    field: vector.tolist(),
                    f"{field}_model": fingerprint,
                },
            )
            for document, vector in zip(documents, vectors, strict=True)
        ]

    def close(self) -> None:
        """Close the model if it was made here."""
        if self._model is not None and isinstance(self.config.method, str):
            self._model.close()
        self._model = None
