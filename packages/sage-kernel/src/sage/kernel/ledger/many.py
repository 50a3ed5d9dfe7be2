"""``ctx.call_many``: one call for several requests, each of which is recorded by itself.

What the call used is shared out by the size of the requests, so that the sum of the parts is the
whole. Predecessor: ``sage.kernel.ledger.calls``; successor: ``sage.kernel.runtime``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from time import perf_counter
from typing import Any

from sage.api.calls import CallInfo, CallUsage
from sage.common.errors import JobError
from sage.kernel.ledger.calls import Request, StepCalls, is_async
from sage.kernel.ledger.current import CURRENT
from sage.kernel.ledger.writer import commit_async

Rows = list[tuple[tuple[Any, ...], list[tuple[bytes, bytes]]]]


def call_many(
    calls: StepCalls,
    function: Callable[[list[Any]], Any],
    requests: Sequence[Any],
    info: CallInfo | None,
    records: Sequence[int] | None,
) -> Any:
    """See ``RuntimeContext.call_many``."""
    info = info or CallInfo()
    asked = _requests(calls, function, requests, info, records)
    responses: dict[int, Any] = {}
    missing: list[int] = []
    for at, one in enumerate(asked):
        found = calls.find(one)
        if found is None:
            missing.append(at)
        else:
            responses[at] = calls.take(one, found)
    made = [asked[at] for at in missing]

    def in_order(values: Sequence[Any]) -> list[Any]:
        responses.update(zip(missing, values, strict=True))
        return [responses[at] for at in range(len(asked))]

    if is_async(function):
        return _make_async(calls, function, [requests[at] for at in missing], made, in_order)
    if not missing:
        return in_order(())
    started, clock = calls.starting(made), perf_counter()
    try:
        values = function([requests[at] for at in missing])
        if hasattr(values, "__await__"):
            raise TypeError(
                f"{function!r} returned an awaitable: give ctx.call_many the async def itself"
            )
        rows = _answered(calls, made, values, started, perf_counter() - clock)
    except BaseException as error:
        _failed(calls, made, error, started, perf_counter() - clock)
        raise
    calls.ledger.store.add_and_wait("calls", rows)
    return in_order(values)


async def _make_async(
    calls: StepCalls,
    function: Callable[[list[Any]], Any],
    requests: list[Any],
    made: list[Request],
    in_order: Callable[[Sequence[Any]], list[Any]],
) -> list[Any]:
    if not made:
        return in_order(())

    started, clock = calls.starting(made), perf_counter()
    try:
        values = await function(requests)
        rows = _answered(calls, made, values, started, perf_counter() - clock)
    except BaseException as error:
        _failed(calls, made, error, started, perf_counter() - clock)
        raise
    await commit_async(calls.ledger.store, "calls", rows)
    return in_order(values)


def _requests(
    calls: StepCalls,
    function: Any,
    requests: Sequence[Any],
    info: CallInfo,
    records: Sequence[int] | None,
) -> list[Request]:
    current = CURRENT.get()
    count = 1 if current is None else current.count
    if records is None:
        if count == 1:
            records = [0] * len(requests)
        elif len(requests) == count:
            records = range(count)
        else:
            raise JobError(
                f"step {calls.context.operator!r}: call_many got {len(requests)} requests for a "
                f"batch of {count} records: say in records= which record each belongs to"
            )
    elif len(records) != len(requests):
        raise JobError(
            f"step {calls.context.operator!r}: call_many got {len(requests)} requests and "
            f"{len(records)} records"
        )
    asked = []
    for request, position in zip(requests, records, strict=True):
        attempt = calls.attempt() if current is None else calls.attempt_of(current, position)
        one = CallInfo(
            kind=info.kind,
            provider=info.provider,
            model=info.model,
            request=request if info.request is None else [info.request, request],
            usage=info.usage,
            pack=info.pack,
            unpack=info.unpack,
            prices=info.prices,
        )
        asked.append(calls.request(attempt, function, (), {}, one))
        attempt.calls += 1
    return asked


def _answered(
    calls: StepCalls, made: list[Request], returned: Any, started: float, latency: float
) -> Rows:
    values = list(returned)
    if len(values) != len(made):
        raise JobError(
            f"step {calls.context.operator!r}: the function of call_many returned {len(values)} "
            f"responses for {len(made)} requests"
        )
    parts = share_out(made[0].info.usage(returned), [one.size for one in made])
    return [
        calls.answered(one, value, started, latency, usage=part)
        for one, value, part in zip(made, values, parts, strict=True)
    ]


def _failed(
    calls: StepCalls, made: list[Request], error: BaseException, started: float, latency: float
) -> None:
    for one in made:
        calls.failed(one, error, started, latency)


def share_out(usage: CallUsage | None, sizes: list[int]) -> list[CallUsage | None]:
    """Parts of what a call used, in proportion to ``sizes``; their sum is the whole."""
    if usage is None:
        return [None] * len(sizes)
    counts = [
        _portions(value, sizes)
        for value in (usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    ]
    costs: list[Decimal | None] = [None] * len(sizes)
    if usage.cost is not None:
        total = sum(sizes) or len(sizes)
        shares = [usage.cost * (size if sum(sizes) else 1) / total for size in sizes[1:]]
        costs = [usage.cost - sum(shares, Decimal(0)), *shares]
    return [
        CallUsage(*(count[at] for count in counts), model=usage.model, cost=costs[at])
        for at in range(len(sizes))
    ]


def _portions(value: int | None, sizes: list[int]) -> list[int | None]:
    if value is None:
        return [None] * len(sizes)
    total, given, seen = sum(sizes) or 1, 0, 0
    portions: list[int | None] = []
    for at, size in enumerate(sizes):
        seen += size
        upto = value if at == len(sizes) - 1 else value * seen // total
        portions.append(upto - given)
        given = upto
    return portions
