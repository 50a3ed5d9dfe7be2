"""``ollama``: a local Ollama server, ``POST /api/embed``. Source: Ollama's API reference."""

from __future__ import annotations

import os
from typing import Any

from sage.middleware.utils.embedding.model import Kind
from sage.middleware.utils.embedding.remote.model import Provider, RemoteEmbedder

PROVIDER = Provider(
    name="ollama",
    base_url="http://127.0.0.1:11434",
    path="/api/embed",
    batch_size=32,
    max_batch=2048,
)


class OllamaEmbedder(RemoteEmbedder):
    """Embeddings of a model that an Ollama server has pulled.

    Args:
        model: The model, such as ``nomic-embed-text``.
        base_url: The server; by default ``OLLAMA_HOST`` or this machine's port 11434.
        truncate: Let the server cut texts longer than the model's context; ``False`` makes them an
            error.
        keep_alive: How long the server keeps the model loaded (``"5m"``), its own default if
            ``None``.
        settings: As for ``RemoteEmbedder``.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        base_url: str | None = None,
        truncate: bool = True,
        keep_alive: str | None = None,
        **settings: Any,
    ) -> None:
        self._truncate = truncate
        self._keep_alive = keep_alive
        super().__init__(
            PROVIDER,
            model,
            base_url=base_url or _address(os.environ.get("OLLAMA_HOST", "")),
            options={"truncate": truncate},
            **settings,
        )

    def _payload(self, texts: list[str], kind: Kind) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._model, "input": texts, "truncate": self._truncate}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        if self._keep_alive is not None:
            body["keep_alive"] = self._keep_alive
        return body

    def _read(self, answer: dict[str, Any]) -> tuple[list[Any], int]:
        return list(answer["embeddings"]), int(answer.get("prompt_eval_count") or 0)


def _address(host: str) -> str | None:
    """``OLLAMA_HOST`` may lack the scheme and the port, and may be the address listened on."""
    if not host:
        return None
    address = host if "://" in host else f"http://{host}"
    if "://" not in host and ":" not in host:
        address += ":11434"
    return address.replace("//0.0.0.0", "//127.0.0.1")
