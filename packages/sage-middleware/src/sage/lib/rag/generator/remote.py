"""What generators that ask a model server share: settings, the call, the answer.

Predecessor: ``sage.middleware.models``; successors: ``openai``, ``vllm``, ``ollama``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.config import Secret
from sage.common.errors import ConfigError, ModelError
from sage.lib.adapt import as_prompt, message_dict
from sage.lib.contracts import GenerationFunction, PromptLike
from sage.lib.rag.generator.structured import read_output, schema_of
from sage.lib.streaming import Telling
from sage.lib.types import Answer, Prompt, ToolCall, Usage
from sage.middleware.models.calls import call_chat, cost_of

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext
    from sage.middleware.models.chat import ChatReply
    from sage.middleware.models.openai_client import OpenAIClient


@attrs.frozen(kw_only=True)
class RemoteConfig:
    """Settings of every generator that asks a server.

    Attributes:
        model: Name of the model.
        temperature: Sampling temperature; default: the server's.
        max_tokens: Most tokens of the answer; default: the server's.
        base_url: Address of the server.
        api_key: Key, best as a reference (``env:NAME``).
        stream: Receive the answer token by token; ``on_token`` sees them, and so do sinks with
            ``stream`` (a typed ``output`` is not shown in pieces).
        on_token: Called on the event loop with each piece of text.
        tools: Tools offered to the model, as the API describes them; the calls it asks for are in
            ``Answer.tool_calls``.
        seed: Seed of the sampling.
        stop: Text or texts that end the answer.
        top_p: Nucleus sampling.
        headers: Further HTTP headers.
        timeout: Seconds for one attempt.
        connect_timeout: Seconds to connect.
        idle_timeout: Seconds to the first chunk of a stream, and between two.
        deadline: Seconds for all attempts of one call together.
        max_retries: Attempts after the first.
        prices: USD per million tokens, ``{model: {"input": .., "output": .., "cached": ..}}``,
            which go before the table of prices; ``Answer.cost`` is ``None`` where neither has the
            model.
        output: An attrs class: its JSON schema is sent with the request, and the reply becomes a
            value of it in ``Answer.metadata["output"]``. A reply that does not fit is sent back to
            the model once, with what is wrong.
    """

    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    base_url: str | None = None
    api_key: Secret | None = None
    stream: bool = False
    on_token: Any = None
    tools: list[Any] | None = None
    seed: int | None = None
    stop: Any = None
    top_p: float | None = None
    headers: dict[str, str] = attrs.field(factory=dict)
    timeout: float = attrs.field(default=120.0, validator=attrs.validators.gt(0))
    connect_timeout: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    idle_timeout: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    deadline: float | None = None
    max_retries: int = attrs.field(default=5, validator=attrs.validators.ge(0))
    prices: dict[str, dict[str, float]] = attrs.field(factory=dict)
    output: Any = None


class RemoteGenerator(GenerationFunction):
    """Base of the generators that ask a server; a subclass makes the client and the parameters."""

    effect = True
    _client: OpenAIClient
    _model: str
    _schema: dict[str, Any] | None = None

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        name = type(self).__name__
        if settings.on_token is not None and not callable(settings.on_token):
            raise ConfigError(f"{name}: on_token must be callable, got {settings.on_token!r}")
        if settings.output is not None:
            if not isinstance(settings.output, type) or not attrs.has(settings.output):
                raise ConfigError(f"{name}: output must be an attrs class, got {settings.output!r}")
            self._schema = schema_of(settings.output)
        self._stream = settings.stream or settings.on_token is not None
        self._params = self._make_params()
        self._model = settings.model or ""

    def _make_params(self) -> dict[str, Any]:
        raise NotImplementedError

    def _make_client(self) -> OpenAIClient:
        raise NotImplementedError

    def _client_options(self) -> dict[str, Any]:
        from sage.middleware.models.retry import RetryRule  # noqa: PLC0415 - only with a client

        settings = self.config
        return {
            "timeout": settings.timeout,
            "connect_timeout": settings.connect_timeout,
            "idle_timeout": settings.idle_timeout,
            "deadline": settings.deadline,
            "retry": RetryRule(max_retries=settings.max_retries),
            "headers": settings.headers,
            "prices": settings.prices,
        }

    def open(self, ctx: RuntimeContext) -> None:
        """Make the client; no connection is opened yet.

        Raises:
            ConfigError: No key for a server that is not local, or the table of prices is wrong.
        """
        from sage.kernel.ledger.prices import PriceTable  # noqa: PLC0415 - only with a client

        self._ctx = ctx
        self._table = PriceTable.of_job(ctx)
        self._client = self._make_client()

    async def execute(self, item: PromptLike) -> Answer:
        """Ask the model.

        Raises:
            ModelError: The server failed, refused, or answered with nothing usable; with
                ``kind="output"`` when the repaired reply does not fit ``output`` either.
            ItemError: The item is no prompt.
        """
        prompt = as_prompt(item)
        messages = [message_dict(message) for message in prompt.messages]
        if self._stream and self._schema is None:
            with Telling(self._ctx.job_id, prompt.query, self.config.on_token) as tell:
                reply = await self._ask(messages, tell, tell.retract)
        else:
            reply = await self._ask(messages, self.config.on_token)
        answer = self._answer(reply, prompt)
        if self.config.output is None or answer.tool_calls:
            return answer
        return await self._typed(answer, prompt, messages)

    async def _typed(
        self, answer: Answer, prompt: Prompt, messages: list[dict[str, Any]]
    ) -> Answer:
        kind = self.config.output
        try:
            return attrs.evolve(answer, metadata={"output": read_output(answer.text, kind)})
        except ConfigError as error:
            wrong = error.message
        told = f"{wrong}. Reply again, with the corrected JSON object only."
        reply = await self._ask(
            [
                *messages,
                {"role": "assistant", "content": answer.text},
                {"role": "user", "content": told},
            ],
            self.config.on_token,
        )
        again = self._answer(reply, prompt)
        try:
            value = read_output(again.text, kind)
        except ConfigError as error:
            raise ModelError(
                f"the model's reply does not fit {kind.__name__}, nor does its correction: "
                f"{error.message}",
                status=200,
                kind="output",
                retry_after=None,
                retryable=False,
                partial=again.text,
            ) from error
        return attrs.evolve(
            again,
            usage=_both(answer.usage, again.usage),
            cost=_sum(answer.cost, again.cost),
            latency=_sum(answer.latency, again.latency),
            retries=answer.retries + again.retries,
            metadata={"output": value, "repaired": wrong},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    async def _ask(
        self,
        messages: list[dict[str, Any]],
        on_token: Callable[[str], object] | None,
        retract: Callable[[], bool] | None = None,
    ) -> ChatReply:
        return await call_chat(
            self._ctx,
            self._client,
            messages,
            model=self._model,
            stream=self._stream,
            on_token=on_token,
            retract=retract,
            prices=self.config.prices,
            **self._params,
        )

    def _answer(self, reply: ChatReply, prompt: Prompt) -> Answer:
        """The answer in a reply, with its question, passages, usage and cost."""
        return Answer(
            text=reply.text,
            query=prompt.query,
            prompt=prompt,
            passages=prompt.passages,
            model=reply.model or self._model,
            usage=Usage(
                input_tokens=reply.input_tokens,
                output_tokens=reply.output_tokens,
                cached_tokens=reply.cached_tokens,
            ),
            finish_reason=reply.finish_reason,
            tool_calls=tuple(ToolCall(id=i, name=n, arguments=a) for i, n, a in reply.tool_calls),
            cost=cost_of(
                reply, self._client, self._table, model=self._model, prices=self.config.prices
            ),
            latency=reply.latency,
            retries=reply.retries,
        )


def _sum(first: Any, second: Any) -> Any:
    return None if first is None or second is None else first + second


def _both(first: Usage, second: Usage) -> Usage:
    return Usage(
        input_tokens=_sum(first.input_tokens, second.input_tokens),
        output_tokens=_sum(first.output_tokens, second.output_tokens),
        cached_tokens=_sum(first.cached_tokens, second.cached_tokens),
    )
