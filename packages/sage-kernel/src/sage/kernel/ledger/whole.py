"""Steps that are an effect as a whole, and what sinks note about their items.

A step declared ``effect=True`` that makes no ``ctx.call`` itself is recorded as one call per item:
the request is the item, the response its output. Whether it makes calls is seen when it runs: then
these are what is recorded.

Predecessor: ``sage.kernel.ledger.calls``; successor: ``sage.kernel.runtime.binding``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Final

from sage.api.calls import CallInfo, CallUsage, usage_of
from sage.common.errors import GraphError
from sage.kernel.ledger.calls import Attempt, Request, StepCalls, is_async
from sage.kernel.ledger.current import CURRENT
from sage.kernel.ledger.errors import LedgerMissError
from sage.kernel.ledger.run import WHOLE_STEP
from sage.kernel.ledger.writer import commit_async

WHOLE_KINDS: Final = frozenset(("map", "flatmap", "filter", "route", "sink", "comap", "fallback"))
"""Kinds of steps that are called with one item and give what depends on it alone."""

LONGEST_REPR: Final = 200


def whole_step(calls: StepCalls, call: Callable[[Any], Any], config: Any) -> Callable[[Any], Any]:
    """``call`` with its result recorded per item, unless it makes calls of its own.

    Args:
        calls: The calls of the step.
        call: What the engine calls with an item.
        config: What the step was configured with; part of the request.
    """
    if is_async(call):

        async def record_async(item: Any) -> Any:
            attempt, asked = _begin(calls, config, item)
            found = calls.find(asked) if _may_find(calls, asked) else None
            if found is not None:
                return calls.take(asked, found)
            started, clock = time.time(), perf_counter()
            try:
                result = await call(item)
            except BaseException as error:
                _failed(calls, attempt, asked, error, started, perf_counter() - clock)
                raise
            if not _is_whole(calls, attempt):
                return result

            latency = perf_counter() - clock
            row, blobs = calls.answered(asked, result, started, latency, WHOLE_STEP)
            await commit_async(calls.ledger.store, "calls", [(row, blobs)])
            return result

        return record_async

    def record(item: Any) -> Any:
        attempt, asked = _begin(calls, config, item)
        found = calls.find(asked) if _may_find(calls, asked) else None
        if found is not None:
            return calls.take(asked, found)
        started, clock = time.time(), perf_counter()
        try:
            result = call(item)
            if hasattr(result, "__next__"):
                result = list(result)
        except BaseException as error:
            _failed(calls, attempt, asked, error, started, perf_counter() - clock)
            raise
        if not _is_whole(calls, attempt):
            return result
        latency = perf_counter() - clock
        row, blobs = calls.answered(asked, result, started, latency, WHOLE_STEP)
        calls.ledger.store.add_and_wait("calls", [(row, blobs)])
        return result

    return record


def whole_batch(
    calls: StepCalls, execute: Callable[[list[Any]], Any], config: Any
) -> Callable[[list[Any]], Any]:
    """``execute_batch`` with its results recorded per item, unless it makes calls of its own."""

    def begin(items: list[Any]) -> tuple[list[Request], dict[int, Any], list[int]]:
        current = CURRENT.get()
        assert current is not None, "workers of vectorised steps say which records they have"
        asked, known, missing = [], {}, []
        for at, item in enumerate(items):
            one = _begin(calls, config, item, calls.attempt_of(current, at))[1]
            found = calls.find(one) if _may_find(calls, one) else None
            asked.append(one)
            if found is None:
                missing.append(at)
            else:
                known[at] = calls.take(one, found)
        return asked, known, missing

    def end(
        asked: list[Request], missing: list[int], values: list[Any], started: float, latency: float
    ) -> list[tuple[Any, Any]]:
        if len(values) != len(missing):
            return []  # the engine says what is wrong
        return [
            calls.answered(asked[at], value, started, latency, WHOLE_STEP)
            for at, value in zip(missing, values, strict=True)
            if _is_whole(calls, asked[at].attempt)
        ]

    def merged(known: dict[int, Any], missing: list[int], values: list[Any]) -> list[Any]:
        if len(values) != len(missing):
            return values
        known.update(zip(missing, values, strict=True))
        return [known[at] for at in range(len(known))]

    if is_async(execute):

        async def record_async(items: list[Any]) -> list[Any]:

            asked, known, missing = begin(items)
            started, clock = time.time(), perf_counter()
            values = list(await execute([items[at] for at in missing])) if missing else []
            rows = end(asked, missing, values, started, perf_counter() - clock)
            await commit_async(calls.ledger.store, "calls", rows)
            return merged(known, missing, values)

        return record_async

    def record(items: list[Any]) -> list[Any]:
        asked, known, missing = begin(items)
        started, clock = time.time(), perf_counter()
        values = list(execute([items[at] for at in missing])) if missing else []
        rows = end(asked, missing, values, started, perf_counter() - clock)
        calls.ledger.store.add_and_wait("calls", rows)
        return merged(known, missing, values)

    return record


def _begin(
    calls: StepCalls, config: Any, item: Any, attempt: Attempt | None = None
) -> tuple[Attempt, Request]:
    attempt = attempt or calls.attempt()
    attempt.calls = 0
    before = _counts(usage_of(item))

    def own_usage(result: Any) -> CallUsage | None:
        used = usage_of(result)
        return None if _counts(used) == before else used

    info = CallInfo(kind="step", request=[config, item], usage=own_usage)
    return attempt, calls.request(attempt, None, (), {}, info)


def _counts(usage: CallUsage | None) -> tuple[Any, ...] | None:
    return None if usage is None else (usage.input_tokens, usage.output_tokens, usage.model)


def _may_find(calls: StepCalls, asked: Request) -> bool:
    """Whether to look the item up; in a replay only steps that were recorded whole may miss."""
    if calls.ledger.mode != "replay":
        return True
    whole = calls.ledger.whole_step(calls.uid)
    if whole is None:
        raise LedgerMissError(
            f"step {calls.context.operator!r} is an effect and nothing was recorded for it in run "
            f"{calls.ledger.id!r}: it cannot be replayed",
            step=calls.context.operator,
            record=asked.attempt.record,
            request="",
            nearest=None,
            diff="",
        )
    return whole


def _is_whole(calls: StepCalls, attempt: Attempt) -> bool:
    if attempt.calls:
        return False
    if calls.context.uses_state:
        raise GraphError(
            f"step {calls.context.operator!r} is declared effect=True and keeps state: what was "
            "recorded for an item would be taken without changing the state; make the effect "
            "itself with ctx.call(...)",
            step=calls.context.operator,
        )
    return True


def _failed(
    calls: StepCalls,
    attempt: Attempt,
    asked: Request,
    error: BaseException,
    started: float,
    latency: float,
) -> None:
    if not attempt.calls:
        calls.failed(asked, error, started, latency)


def noting_sink(calls: StepCalls, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A sink's ``call`` that also notes in the ledger that the item arrived."""
    output = calls.ledger.output

    def note(item: Any) -> None:
        attempt = calls.attempt()
        output(calls.step, attempt.record, "ok", facts_of(item), attempt.outputs)
        attempt.outputs += 1

    if is_async(call):

        async def noting_async(item: Any) -> Any:
            result = await call(item)
            note(item)
            return result

        return noting_async

    def noting(item: Any) -> Any:
        result = call(item)
        note(item)
        return result

    return noting


def facts_of(item: Any) -> dict[str, Any]:
    """What an item says about where it came from: ``lineage_facts()``, else its shortened repr."""
    facts = getattr(item, "lineage_facts", None)
    if callable(facts):
        given = facts()
        if isinstance(given, Mapping):
            return dict(given)
    text = repr(_beginning(item))
    shown = text if len(text) <= LONGEST_REPR else f"{text[: LONGEST_REPR - 1]}…"
    return {"item": shown}


def _beginning(item: Any) -> Any:
    """The item without the ends of long texts, which its repr is too short for."""
    kind = type(item)
    if kind is dict:
        return {key: _beginning(each) if type(each) is str else each for key, each in item.items()}
    return item[:LONGEST_REPR] if kind is str or kind is bytes else item
