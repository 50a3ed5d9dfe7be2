"""``VLLMGenerator``: answers from a vLLM server, started for a local model if need be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from sage.common.errors import ConfigError
from sage.lib.rag.generator.openai import OpenAIConfig, OpenAIGenerator
from sage.lib.rag.generator.vllm_server import BASE_URL_VARIABLE, served_model

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


@attrs.frozen(kw_only=True)
class VLLMConfig(OpenAIConfig):
    """Settings: those of ``OpenAIConfig``, and how a server is started.

    Attributes:
        base_url: A server that runs already; default: ``OPENAI_BASE_URL``, else one is started.
        model: Default: with a server that runs already ``model_path``, else its first model.
        model_path: Directory (or name) of the model to serve.
        tensor_parallel_size: GPUs that share the model; default: vLLM's.
        max_model_len: Most tokens of prompt and answer together; default: the model's.
        dtype: Number format such as ``bfloat16``; default: vLLM's.
        vllm_args: Further arguments of ``vllm serve``.
        startup_timeout: Seconds until a started server must answer.
    """

    tensor_parallel_size: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    max_model_len: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    dtype: str | None = None
    vllm_args: list[str] = attrs.field(factory=list)
    startup_timeout: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))


class VLLMGenerator(OpenAIGenerator):
    """As ``OpenAIGenerator``, with a server that runs already or one of its own.

    With ``base_url`` (or ``OPENAI_BASE_URL``) it asks that server. Else ``vllm serve model_path``
    is started on loopback, with a free port, when the step opens; steps of the process with the
    same settings share it, and the last one to close ends it.

    Example:
        >>> stream.map(VLLMGenerator, {"model_path": "/models/llama-7b"}, concurrency=64)
    """

    Config = VLLMConfig

    def _without_model(self) -> None:
        if not self.config.base_url and not os.environ.get(BASE_URL_VARIABLE):
            raise ConfigError(
                "VLLMGenerator needs model_path (a server is started for it) or base_url (of a "
                "server that runs already)"
            )

    def open(self, ctx: RuntimeContext) -> None:
        """Start the server if need be, find out its model, make the client.

        Raises:
            VLLMNotInstalledError: vLLM is to be started and is not installed.
            ServiceError: vLLM ended or did not get ready in time.
            UnreachableError: The server is to say its model and does not answer.
        """
        super().open(ctx)
        if not self._model:
            self._model = served_model(self._client.base_url)
