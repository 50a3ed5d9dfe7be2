"""``OllamaGenerator``: answers from a local Ollama server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from sage.common.errors import ConfigError
from sage.lib.rag.generator.remote import RemoteConfig, RemoteGenerator

if TYPE_CHECKING:
    from sage.middleware.models.ollama_client import OllamaClient


@attrs.frozen(kw_only=True)
class OllamaConfig(RemoteConfig):
    """Settings: those of ``RemoteConfig`` (``model`` is required), and these.

    Attributes:
        base_url: Address of the server; default: ``OLLAMA_HOST``, else this machine's port 11434.
        api_key: Default: ``OLLAMA_API_KEY``; most servers need none.
        num_ctx: Tokens of the context window; default: the server's. A longer prompt is cut by
            Ollama without a word.
        top_k: Sample from this many tokens.
        keep_alive: How long the model stays loaded, such as ``10m``; a negative number: forever.
        think: Whether a reasoning model thinks first, or how much where the model has levels
            (``low``, ``medium``, ``high``); default: the model's. What it thought is no part of
            the answer.
        format: ``json``, or a JSON schema of the answer.
        options: Further options of the model, as Ollama names them.
    """

    num_ctx: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    top_k: int | None = None
    keep_alive: Any = None
    think: bool | Literal["low", "medium", "high"] | None = None
    format: Any = None
    options: dict[str, Any] = attrs.field(factory=dict)


class OllamaGenerator(RemoteGenerator):
    """Sends the prompt to an Ollama server, by its own API, streamed or not.

    Ollama's API has options that its OpenAI-compatible one lacks (``num_ctx``, ``keep_alive``).
    Concurrency, retries and errors are those of ``OpenAIGenerator``; a model that is not pulled is
    a ``ModelError`` with ``status`` 404.

    Example:
        >>> stream.map(OllamaGenerator, {"model": "llama3.2", "num_ctx": 8192})
    """

    Config = OllamaConfig

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        if not self.config.model:
            raise ConfigError("OllamaGenerator: the key model is missing; try 'ollama list'")

    def _make_params(self) -> dict[str, Any]:
        settings = self.config
        stop = [settings.stop] if isinstance(settings.stop, str) else settings.stop
        return {
            "temperature": settings.temperature,
            "num_predict": settings.max_tokens,
            "seed": settings.seed,
            "stop": stop,
            "top_p": settings.top_p,
            "top_k": settings.top_k,
            "num_ctx": settings.num_ctx,
            "tools": settings.tools,
            "keep_alive": settings.keep_alive,
            "think": settings.think,
            "format": self._schema if settings.format is None else settings.format,
            "options": settings.options or None,
        }

    def _make_client(self) -> OllamaClient:
        # aiohttp costs 150 ms to import: only when a model is used.
        from sage.middleware.models.ollama_client import OllamaClient  # noqa: PLC0415

        return OllamaClient(self.config.base_url, self.config.api_key, **self._client_options())
