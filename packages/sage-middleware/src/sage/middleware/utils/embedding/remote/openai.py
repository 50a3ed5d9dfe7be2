"""``openai``: any server that speaks ``POST /v1/embeddings``. Source: OpenAI's API reference."""

from __future__ import annotations

from typing import Any, Literal

from sage.common.errors import ConfigError
from sage.middleware.utils.embedding.model import Kind
from sage.middleware.utils.embedding.remote.model import Provider, RemoteEmbedder

PROVIDER = Provider(
    name="openai",
    base_url="https://api.openai.com/v1",
    path="/embeddings",
    key_variables=("OPENAI_API_KEY",),
    batch_size=256,
    max_batch=2048,
    model="text-embedding-3-small",
)


class OpenAIEmbedder(RemoteEmbedder):
    """Embeddings of OpenAI or of a compatible server (vLLM, LM Studio, llama.cpp, LiteLLM, ...).

    Args:
        model: ``text-embedding-3-small`` by default.
        encoding: How vectors travel: ``base64`` is four times smaller and exact; servers that do
            not know it answer numbers, which are read too. ``float`` asks for numbers.
        settings: As for ``RemoteEmbedder``.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        encoding: Literal["base64", "float"] = "base64",
        **settings: Any,
    ) -> None:
        if encoding not in ("base64", "float"):
            raise ConfigError(
                f"embedding 'openai': encoding must be 'base64' or 'float', got {encoding!r}"
            )
        self._encoding = encoding
        super().__init__(PROVIDER, model, options={"encoding": encoding}, **settings)

    def _payload(self, texts: list[str], kind: Kind) -> dict[str, Any]:
        body = {"model": self._model, "input": texts, "encoding_format": self._encoding}
        return body if self._dimensions is None else {**body, "dimensions": self._dimensions}

    def _read(self, answer: dict[str, Any]) -> tuple[list[Any], int]:
        return read_openai(answer)


def read_openai(answer: dict[str, Any]) -> tuple[list[Any], int]:
    """Rows by ``index`` and tokens of an answer in OpenAI's shape."""
    data = answer["data"]
    rows = sorted(data, key=lambda row: row.get("index", 0))
    usage = answer.get("usage") or {}
    tokens = usage.get("prompt_tokens") or usage.get("total_tokens") or 0
    return [row["embedding"] for row in rows], int(tokens)
