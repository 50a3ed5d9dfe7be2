"""What ``ctx.call`` is told about a call besides the function and its arguments.

Predecessor: ``sage.api.context``; successor: ``sage.kernel.ledger``, which records the calls. The
classes are plain: this module is imported by every operator that asks a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

CALLER: ContextVar[RuntimeContext | None] = ContextVar("sage_caller", default=None)
"""The step on whose behalf a service, or a shared client, makes calls."""


@contextmanager
def on_behalf(ctx: RuntimeContext | None) -> Iterator[None]:
    """Calls that shared objects, such as embedding models, make meanwhile belong to the step.

    ``None``: they belong to no step.
    """
    token = CALLER.set(ctx)
    try:
        yield
    finally:
        CALLER.reset(token)


class CallUsage:
    """What one call used.

    Attributes:
        input_tokens, output_tokens: As the provider counted; ``None``: it did not say.
        cached_tokens: Input tokens among them that the provider had cached.
        model: The model that answered, as the provider names it; empty: the one asked for.
        retries: Failed attempts inside of the call.
        cost: USD, where the provider says it; ``None``: by the table of prices.
    """

    __slots__ = (
        "cached_tokens",
        "cost",
        "input_tokens",
        "model",
        "output_tokens",
        "retries",
    )

    def __init__(
        self,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        *,
        model: str = "",
        retries: int = 0,
        cost: Decimal | None = None,
    ) -> None:
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.cached_tokens = cached_tokens
        self.model = model
        self.retries = retries
        self.cost = cost

    def __repr__(self) -> str:
        return f"CallUsage({self.input_tokens}, {self.output_tokens}, model={self.model!r})"


class CallInfo:
    """Facts about a call for the ledger.

    Attributes:
        kind: ``model``, ``embedding``, ``rerank``, ``tool``, ``api``, or another word.
        provider: Who is called, usually the host of its address; decides the price.
        model: The model asked for; part of the request.
        request: What is asked, as a value: two calls with the same are the same call. Default: the
            function's name and arguments.
        usage: Reads tokens, model and retries from a response, or from the exception a failed call
            raised; returns ``None`` when it says nothing. Default: ``usage_of``.
        pack: Makes a value that can be stored from the response; default: the response itself.
        unpack: Makes the response again from what ``pack`` gave.
        key_argument: Name of the keyword argument in which the function takes an idempotency key
            for the provider; the key of a call is the same after a crash.
        prices: USD per million tokens, ``{model: {"input", "output", "cached"}}``; goes before the
            table of prices.
    """

    __slots__ = (
        "key_argument",
        "kind",
        "model",
        "pack",
        "prices",
        "provider",
        "request",
        "unpack",
        "usage",
    )

    def __init__(
        self,
        *,
        kind: str = "call",
        provider: str = "",
        model: str = "",
        request: Any = None,
        usage: Callable[[Any], CallUsage | None] | None = None,
        pack: Callable[[Any], Any] | None = None,
        unpack: Callable[[Any], Any] | None = None,
        key_argument: str | None = None,
        prices: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.kind = kind
        self.provider = provider
        self.model = model
        self.request = request
        self.usage = usage or usage_of
        self.pack = pack
        self.unpack = unpack
        self.key_argument = key_argument
        self.prices = prices or {}


def usage_of(response: Any) -> CallUsage | None:
    """What a response says about its usage, where it has one of the usual forms.

    Understood are a mapping with OpenAI's ``usage`` object, a value with ``input_tokens`` and
    ``output_tokens``, and one whose attribute ``usage`` has these.
    """
    if isinstance(response, Mapping):
        counts = response.get("usage")
        if not isinstance(counts, Mapping):
            return None
        details = counts.get("prompt_tokens_details")
        return CallUsage(
            counts.get("prompt_tokens", counts.get("input_tokens")),
            counts.get("completion_tokens", counts.get("output_tokens")),
            details.get("cached_tokens") if isinstance(details, Mapping) else None,
            model=str(response.get("model") or ""),
        )
    holder = getattr(response, "usage", response)
    if not hasattr(holder, "input_tokens") or not hasattr(holder, "output_tokens"):
        return None
    return CallUsage(
        holder.input_tokens,
        holder.output_tokens,
        getattr(holder, "cached_tokens", None),
        model=str(getattr(response, "model", "") or ""),
        retries=int(getattr(response, "retries", 0) or 0),
    )
