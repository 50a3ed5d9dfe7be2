"""Model calls of operators that are not generators: rewriting, judging, compressing.

``ChatConfig`` has the settings that such operators share, ``ChatModel`` makes the calls and counts
them in the metrics of the step: ``model_calls``, ``input_tokens``, ``output_tokens``, ``cost_usd``.

Predecessor: ``sage.middleware.models``; successor: the operators that ask a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from sage.common.config import Secret
from sage.middleware.models.calls import call_chat, cost_of

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext
    from sage.middleware.models.chat import ChatReply

T = TypeVar("T")


# Without slots, so that it can stand beside another configuration as a base.
@attrs.frozen(kw_only=True, slots=False)
class ChatConfig:
    """How a model is asked; the keys are those of ``OpenAIGenerator``.

    Attributes:
        model: Name of the model.
        base_url: Address of the server up to ``/v1``; default: ``OPENAI_BASE_URL``, else OpenAI
            itself.
        api_key: Key, best as a reference (``env:NAME``); default: ``OPENAI_API_KEY``.
        temperature: Sampling temperature; 0 by default, so that the same item gives the same
            result; ``None``: the server's.
        max_tokens: Most tokens of a reply; default: the server's.
        seed: Seed of the sampling.
        extra: Further fields of the request, sent as they are.
        headers: Further HTTP headers.
        timeout: Seconds for one attempt.
        deadline: Seconds for all attempts of one call together.
        max_retries: Attempts after the first.
        prices: USD per million tokens, as in ``OpenAIGenerator``.
    """

    model: str | None = None
    base_url: str | None = None
    api_key: Secret | None = None
    temperature: float | None = 0.0
    max_tokens: int | None = None
    seed: int | None = None
    extra: dict[str, Any] = attrs.field(factory=dict)
    headers: dict[str, str] = attrs.field(factory=dict)
    timeout: float = attrs.field(default=120.0, validator=attrs.validators.gt(0))
    deadline: float | None = None
    max_retries: int = attrs.field(default=5, validator=attrs.validators.ge(0))
    prices: dict[str, dict[str, float]] = attrs.field(factory=dict)


class ChatModel:
    """A model behind a ``ChatConfig``, for one step.

    Args:
        settings: Which model, and how.
        ctx: Context of the step; its counters get what the calls used.

    Raises:
        ConfigError: No key for a server that is not local, or the table of prices is wrong.
    """

    def __init__(self, settings: ChatConfig, ctx: RuntimeContext) -> None:
        # aiohttp costs 150 ms to import: only when a model is used.
        from sage.kernel.ledger.prices import PriceTable  # noqa: PLC0415
        from sage.middleware.models.openai_client import OpenAIClient  # noqa: PLC0415
        from sage.middleware.models.retry import RetryRule  # noqa: PLC0415

        self._settings = settings
        self._ctx = ctx
        self._table = PriceTable.of_job(ctx)
        self._client = OpenAIClient(
            settings.base_url,
            settings.api_key,
            timeout=settings.timeout,
            deadline=settings.deadline,
            retry=RetryRule(max_retries=settings.max_retries),
            headers=settings.headers,
            prices=settings.prices,
        )

    async def ask(self, prompt: str, *, system: str | None = None) -> str:
        """The text of the reply to one user message.

        Raises:
            ModelError: The server failed, refused, or answered with nothing usable.
        """
        settings = self._settings
        messages: list[dict[str, Any]] = []
        if system is not None:
            messages.append({"role": "system", "content": system})
        messages.append({"role": "user", "content": prompt})
        reply = await call_chat(
            self._ctx,
            self._client,
            messages,
            model=settings.model or "",
            prices=settings.prices,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            seed=settings.seed,
            **settings.extra,
        )
        self._count(reply)
        return reply.text

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _count(self, reply: ChatReply) -> None:
        self._ctx.count("model_calls")
        self._ctx.count("input_tokens", reply.input_tokens or 0)
        self._ctx.count("output_tokens", reply.output_tokens or 0)
        cost = cost_of(
            reply,
            self._client,
            self._table,
            model=self._settings.model or "",
            prices=self._settings.prices,
        )
        if cost is not None:
            self._ctx.count("cost_usd", cost)


def numbered(texts: Sequence[str], limit: int) -> str:
    """``[1] …`` lines of texts, each on one line and cut after ``limit`` characters."""
    return "\n".join(
        f"[{number}] {' '.join(text.split())[:limit]}" for number, text in enumerate(texts, 1)
    )


async def together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all calls in order; the first failure cancels the rest and is raised as is."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
