"""``OpenAIGenerator``: answers from any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.config import Secret
from sage.common.errors import ConfigError
from sage.lib.adapt import as_prompt
from sage.lib.contracts import GenerationFunction, PromptLike
from sage.lib.types import Answer, ChatMessage, ToolCall, Usage

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext
    from sage.middleware.models.chat import ChatReply


class OpenAIGenerator(GenerationFunction):
    """Sends the prompt to a model and returns its answer with usage, cost and latency.

    Asynchronous: the step option ``concurrency`` is the number of calls in flight; the client adds
    no limit. Retries are the client's (see ``max_retries``); what still fails raises
    ``ModelError`` with ``status``, ``kind`` and ``retry_after``; the step's ``on_error`` decides.

    Example:
        >>> stream.map(OpenAIGenerator, {"model": "gpt-4o-mini"}, concurrency=32)
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            model: Name of the model.
            temperature: Sampling temperature; default: the server's.
            max_tokens: Most tokens of the answer; default: the server's.
            max_tokens_field: Request field that carries ``max_tokens``; newer OpenAI models want
                ``max_completion_tokens``.
            base_url: Address of the server up to ``/v1``; default: ``OPENAI_BASE_URL``, else
                OpenAI itself.
            api_key: Key, best as a reference (``env:NAME``); default: ``OPENAI_API_KEY``.
            stream: Receive the answer token by token (``on_token`` sees them).
            on_token: Called on the event loop with each piece of text.
            tools: Tools offered to the model, as the API describes them; the calls it asks for are
                in ``Answer.tool_calls``.
            tool_choice: As the API takes it.
            response_format: As the API takes it, for example ``{"type": "json_object"}``.
            seed: Seed of the sampling.
            stop: Text or texts that end the answer.
            top_p: Nucleus sampling.
            extra: Further fields of the request, sent as they are.
            headers: Further HTTP headers.
            timeout: Seconds for one attempt.
            connect_timeout: Seconds to connect.
            idle_timeout: Seconds between two chunks of a stream.
            deadline: Seconds for all attempts of one call together.
            max_retries: Attempts after the first.
            prices: USD per million tokens, ``{model: {"input": .., "output": .., "cached": ..}}``;
                without an entry for the model, ``Answer.cost`` is ``None``.
        """

        model: str
        temperature: float | None = None
        max_tokens: int | None = None
        max_tokens_field: str = "max_tokens"
        base_url: str | None = None
        api_key: Secret | None = None
        stream: bool = False
        on_token: Any = None
        tools: list[Any] | None = None
        tool_choice: Any = None
        response_format: dict[str, Any] | None = None
        seed: int | None = None
        stop: Any = None
        top_p: float | None = None
        extra: dict[str, Any] = attrs.field(factory=dict)
        headers: dict[str, str] = attrs.field(factory=dict)
        timeout: float = attrs.field(default=120.0, validator=attrs.validators.gt(0))
        connect_timeout: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
        idle_timeout: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
        deadline: float | None = None
        max_retries: int = attrs.field(default=5, validator=attrs.validators.ge(0))
        prices: dict[str, dict[str, float]] = attrs.field(factory=dict)

    effect = True

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        if settings.on_token is not None and not callable(settings.on_token):
            raise ConfigError(
                f"OpenAIGenerator: on_token must be callable, got {settings.on_token!r}"
            )
        self._stream = settings.stream or settings.on_token is not None
        self._params = {
            "temperature": settings.temperature,
            settings.max_tokens_field: settings.max_tokens,
            "tools": settings.tools,
            "tool_choice": settings.tool_choice,
            "response_format": settings.response_format,
            "seed": settings.seed,
            "stop": settings.stop,
            "top_p": settings.top_p,
            **settings.extra,
        }

    def open(self, ctx: RuntimeContext) -> None:
        """Make the client; no connection is opened yet.

        Raises:
            ConfigError: No key for a server that is not local.
        """
        # aiohttp costs 150 ms to import: only when a model is used.
        from sage.middleware.models.openai_client import OpenAIClient  # noqa: PLC0415
        from sage.middleware.models.retry import RetryRule  # noqa: PLC0415

        settings = self.config
        self._client = OpenAIClient(
            settings.base_url,
            settings.api_key,
            timeout=settings.timeout,
            connect_timeout=settings.connect_timeout,
            idle_timeout=settings.idle_timeout,
            deadline=settings.deadline,
            retry=RetryRule(max_retries=settings.max_retries),
            headers=settings.headers,
        )

    async def execute(self, item: PromptLike) -> Answer:
        """Ask the model.

        Raises:
            ModelError: The server failed, refused, or answered with nothing usable.
            ItemError: The item is no prompt.
        """
        prompt = as_prompt(item)
        settings = self.config
        reply = await self._client.chat(
            [_wire(message) for message in prompt.messages],
            model=settings.model,
            stream=self._stream,
            on_token=settings.on_token,
            **self._params,
        )
        return Answer(
            text=reply.text,
            query=prompt.query,
            prompt=prompt,
            passages=prompt.passages,
            model=reply.model or settings.model,
            usage=Usage(
                input_tokens=reply.input_tokens,
                output_tokens=reply.output_tokens,
                cached_tokens=reply.cached_tokens,
            ),
            finish_reason=reply.finish_reason,
            tool_calls=tuple(ToolCall(id=i, name=n, arguments=a) for i, n, a in reply.tool_calls),
            cost=cost_of(reply, settings.prices, settings.model),
            latency=reply.latency,
            retries=reply.retries,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def cost_of(
    reply: ChatReply, prices: Mapping[str, Mapping[str, float]], model: str
) -> float | None:
    """USD of a reply, or ``None`` when a price or a count is not known.

    Cached input tokens cost ``cached`` where the table has it, else as other input.
    """
    price = prices.get(reply.model) or prices.get(model)
    if price is None or "input" not in price or "output" not in price:
        return None
    if reply.input_tokens is None or reply.output_tokens is None:
        return None
    cached = reply.cached_tokens or 0
    return (
        (reply.input_tokens - cached) * price["input"]
        + cached * price.get("cached", price["input"])
        + reply.output_tokens * price["output"]
    ) / 1e6


def _wire(message: ChatMessage) -> dict[str, Any]:
    result: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        result["name"] = message.name
    if message.tool_call_id is not None:
        result["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        result["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return result
