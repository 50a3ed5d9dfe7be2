"""``cohere``: Cohere's embedding API, version 2. Source: Cohere's API reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sage.common.errors import ConfigError
from sage.middleware.utils.embedding.model import Kind
from sage.middleware.utils.embedding.remote.model import Provider, RemoteEmbedder

PROVIDER = Provider(
    name="cohere",
    base_url="https://api.cohere.com",
    path="/v2/embed",
    key_variables=("CO_API_KEY", "COHERE_API_KEY"),
    batch_size=96,
    max_batch=96,
    model="embed-multilingual-v3.0",
)
_ROLES: Mapping[Kind, str] = {"document": "search_document", "query": "search_query"}


class CohereEmbedder(RemoteEmbedder):
    """Embeddings of Cohere; questions and documents are embedded for their roles.

    Args:
        model: ``embed-multilingual-v3.0`` by default.
        truncate: Which end of a text that is too long the server drops; ``NONE`` makes it an error.
        settings: As for ``RemoteEmbedder``; ``dimensions`` is for version 4 models.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        truncate: Literal["NONE", "START", "END"] = "END",
        **settings: Any,
    ) -> None:
        if truncate not in ("NONE", "START", "END"):
            raise ConfigError(
                f"embedding 'cohere': truncate must be 'NONE', 'START' or 'END', got {truncate!r}"
            )
        self._truncate = truncate
        options = {"truncate": truncate}
        super().__init__(PROVIDER, model, options=options, asymmetric=True, **settings)

    def _payload(self, texts: list[str], kind: Kind) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "texts": texts,
            "input_type": _ROLES[kind],
            "embedding_types": ["float"],
            "truncate": self._truncate,
        }
        if self._dimensions is not None:
            body["output_dimension"] = self._dimensions
        return body

    def _read(self, answer: dict[str, Any]) -> tuple[list[Any], int]:
        units = (answer.get("meta") or {}).get("billed_units") or {}
        return list(answer["embeddings"]["float"]), int(units.get("input_tokens") or 0)
