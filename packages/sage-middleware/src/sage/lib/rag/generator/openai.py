"""``OpenAIGenerator``: answers from any OpenAI-compatible server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.rag.generator.remote import RemoteConfig, RemoteGenerator
from sage.lib.rag.generator.vllm_server import VLLMServer

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext
    from sage.middleware.models.openai_client import OpenAIClient


@attrs.frozen(kw_only=True)
class OpenAIConfig(RemoteConfig):
    """Settings: those of ``RemoteConfig`` (``model`` is required unless there is ``model_path``).

    Attributes:
        base_url: Address of the server up to ``/v1``; default: ``OPENAI_BASE_URL``, else OpenAI
            itself.
        api_key: Default: ``OPENAI_API_KEY``.
        max_tokens_field: Request field that carries ``max_tokens``; newer OpenAI models want
            ``max_completion_tokens``.
        tool_choice: As the API takes it.
        response_format: As the API takes it, for example ``{"type": "json_object"}``.
        extra: Further fields of the request, sent as they are.
        model_path: Directory (or name) of a model for vLLM. Without ``base_url`` and
            ``OPENAI_BASE_URL`` a vLLM server is started for it; ``VLLMGenerator`` has more
            settings for that. Is the default of ``model``.
        gpu_memory_utilization: Share of the GPU's memory that server takes, in (0, 1].
    """

    max_tokens_field: str = "max_tokens"
    tool_choice: Any = None
    response_format: dict[str, Any] | None = None
    extra: dict[str, Any] = attrs.field(factory=dict)
    model_path: str | None = None
    gpu_memory_utilization: float | None = attrs.field(
        default=None,
        validator=attrs.validators.optional([attrs.validators.gt(0), attrs.validators.le(1)]),
    )


class OpenAIGenerator(RemoteGenerator):
    """Sends the prompt to a model and returns its answer with usage, cost and latency.

    Asynchronous: the step option ``concurrency`` is the number of calls in flight; the client adds
    no limit. Retries are the client's (see ``max_retries``); what still fails raises
    ``ModelError`` with ``status``, ``kind`` and ``retry_after``; the step's ``on_error`` decides.

    Example:
        >>> stream.map(OpenAIGenerator, {"model": "gpt-4o-mini"}, concurrency=32)
    """

    Config = OpenAIConfig
    _base_url: str | None
    _server: VLLMServer | None = None

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        if not settings.model and not settings.model_path:
            self._without_model()
        self._model = settings.model or settings.model_path or ""

    def _without_model(self) -> None:
        raise ConfigError(
            f"{type(self).__name__}: the key model is missing: give the name of a model, "
            "or model_path for vLLM"
        )

    def _make_params(self) -> dict[str, Any]:
        settings = self.config
        form = settings.response_format
        if form is None and self._schema is not None:
            named = {"name": settings.output.__name__, "schema": self._schema}
            form = {"type": "json_schema", "json_schema": named}
        return {
            "temperature": settings.temperature,
            settings.max_tokens_field: settings.max_tokens,
            "tools": settings.tools,
            "tool_choice": settings.tool_choice,
            "response_format": form,
            "seed": settings.seed,
            "stop": settings.stop,
            "top_p": settings.top_p,
            **settings.extra,
        }

    def open(self, ctx: RuntimeContext) -> None:
        """Make the client; with ``model_path`` and no server to ask, start vLLM first.

        Raises:
            ConfigError: No key for a server that is not local.
            VLLMNotInstalledError: vLLM is to be started and is not installed.
            ServiceError: vLLM ended or did not get ready in time.
        """
        self._base_url = self.config.base_url
        if self.config.model_path is not None:
            self._start_server(ctx)
        try:
            super().open(ctx)
        except BaseException:
            self._release_server()  # close() is not called after an open() that failed
            raise

    def close(self) -> None:
        """Close the connections; end the vLLM server when no other step uses it."""
        super().close()
        self._release_server()

    def _release_server(self) -> None:
        if self._server is not None:
            self._server.release()
            self._server = None

    def _start_server(self, ctx: RuntimeContext) -> None:
        from sage.lib.rag.generator.vllm_server import VLLMOptions, vllm_server  # noqa: PLC0415

        known = {field.name for field in attrs.fields(VLLMOptions)}
        given = attrs.asdict(self.config, recurse=False)
        options = VLLMOptions(**{name: given[name] for name in known & set(given)})
        self._server = vllm_server(options, self._base_url, ctx)
        if self._server is not None:
            self._base_url = self._server.url
            self._model = self.config.model or self._server.model

    def _make_client(self) -> OpenAIClient:
        # aiohttp costs 150 ms to import: only when a model is used.
        from sage.middleware.models.openai_client import OpenAIClient  # noqa: PLC0415

        return OpenAIClient(self._base_url, self.config.api_key, **self._client_options())


__all__ = ["OpenAIConfig", "OpenAIGenerator"]
