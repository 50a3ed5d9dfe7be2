"""Chat calls of steps: recorded in the job's ledger, and not made again after a crash.

Predecessor: ``sage.middleware.models.openai_client``; successors: the operators that ask a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sage.api.calls import CallInfo, usage_of
from sage.middleware.models.chat import ChatReply

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext
    from sage.kernel.ledger.prices import PriceTable
    from sage.middleware.models.openai_client import OpenAIClient


async def call_chat(
    ctx: RuntimeContext,
    client: OpenAIClient,
    messages: Sequence[Mapping[str, Any]],
    *,
    model: str,
    stream: bool = False,
    on_token: Callable[[str], object] | None = None,
    retract: Callable[[], bool] | None = None,
    prices: Mapping[str, Mapping[str, float]] | None = None,
    **params: Any,
) -> ChatReply:
    """``client.chat`` as a call of a step; the request is the messages, model and parameters.

    Args:
        ctx: Context of the step.
        client: Who is asked.
        messages, model, stream, params: As for ``client.chat``.
        on_token: As for ``client.chat``; gets a recorded reply in one piece.
        retract: As for ``client.chat``.
        prices: USD per million tokens, which go before the table of prices.

    Raises:
        ModelError: As ``client.chat``.
    """
    told = False

    def tell(piece: str) -> None:
        nonlocal told
        told = True
        if on_token is not None:
            on_token(piece)

    async def chat(idempotency_key: str | None = None) -> ChatReply:
        return await client.chat(
            messages,
            model=model,
            stream=stream,
            on_token=None if on_token is None else tell,
            retract=retract,
            idempotency_key=idempotency_key,
            **params,
        )

    given = {name: value for name, value in params.items() if value is not None}
    info = CallInfo(
        kind="model",
        provider=_provider(client),
        model=model,
        request={"messages": list(messages), **given},
        pack=_packed,
        unpack=_unpacked,
        key_argument="idempotency_key",
        prices=prices,
    )
    reply: ChatReply = await ctx.call(chat, call_info=info)
    if on_token is not None and not told and reply.text:
        on_token(reply.text)
    return reply


def cost_of(
    reply: ChatReply,
    client: OpenAIClient,
    table: PriceTable,
    *,
    model: str,
    prices: Mapping[str, Mapping[str, float]] | None = None,
) -> float | None:
    """USD of a reply, as in ``job.cost()``; ``None``: not known.

    Args:
        reply: What ``call_chat`` returned.
        client, model, prices: As for ``call_chat``.
        table: The table of prices of the job.
    """
    cost = table.cost(_provider(client), model, usage_of(reply), prices)
    return None if cost is None else float(cost)


def _provider(client: OpenAIClient) -> str:
    return urlsplit(client.base_url).netloc.rpartition("@")[2]


def _packed(reply: ChatReply) -> dict[str, Any]:
    return {name: getattr(reply, name) for name in ChatReply.__slots__}


def _unpacked(stored: Mapping[str, Any]) -> ChatReply:
    reply = ChatReply()
    for name, value in stored.items():
        setattr(reply, name, value)
    return reply
