"""``jina``: Jina's embedding API. Source: Jina AI's API reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.middleware.utils.embedding.model import Kind
from sage.middleware.utils.embedding.remote.model import Provider, RemoteEmbedder
from sage.middleware.utils.embedding.remote.openai import read_openai

PROVIDER = Provider(
    name="jina",
    base_url="https://api.jina.ai/v1",
    path="/embeddings",
    key_variables=("JINA_API_KEY",),
    batch_size=128,
    max_batch=2048,
    model="jina-embeddings-v3",
)
RETRIEVAL: Mapping[Kind, str] = {"document": "retrieval.passage", "query": "retrieval.query"}


class JinaEmbedder(RemoteEmbedder):
    """Embeddings of Jina AI; questions and documents are embedded for their roles.

    Args:
        model: ``jina-embeddings-v3`` by default.
        tasks: The ``task`` sent for each kind; ``{}`` for models without tasks (v2), which is also
            what they get by default.
        settings: As for ``RemoteEmbedder``.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        tasks: Mapping[Kind, str] | None = None,
        **settings: Any,
    ) -> None:
        without = (model or "").startswith("jina-embeddings-v2")
        self._tasks = dict(tasks) if tasks is not None else {} if without else dict(RETRIEVAL)
        options = {} if tasks is None else {"tasks": self._tasks}
        super().__init__(PROVIDER, model, options=options, asymmetric=True, **settings)

    @property
    def fingerprint(self) -> str:
        """Protocol, model, dimension asked for, prefixes, tasks."""
        tasks = ",".join(self._tasks.get(kind, "") for kind in RETRIEVAL)
        return f"{super().fingerprint};tasks={tasks}"

    def _payload(self, texts: list[str], kind: Kind) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "input": texts,
            "embedding_type": "float",
            "normalized": True,
        }
        if kind in self._tasks:
            body["task"] = self._tasks[kind]
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        return body

    def _read(self, answer: dict[str, Any]) -> tuple[list[Any], int]:
        return read_openai(answer)
