"""Bounded loops: items carry their round in a wrapper, and adapters hide it from the functions.

``stream.iterate(body, until=..., max_iterations=n)`` becomes
``enter → union(with feedback) → body → route(again | done)``; ``again`` counts the round and fills
the feedback, ``done`` unwraps. Between enter and leave every function of the body is wrapped in an
adapter that unwraps its input and wraps its output with the round of the input, so the body is
written as if there were no loop, the runtime needs no special kind, and state and models of the
body exist once for all rounds.

Predecessor: ``sage.api.datastream``; successor: the runtime, which sees plain nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sage.api.functions import BaseFunction, CoMapFunction, ProcessFunction
from sage.common.errors import GraphError
from sage.kernel.graph.model import FunctionSpec
from sage.kernel.graph.steps import is_coroutine_function

AGAIN, DONE = "again", "done"


class Round:
    """An item inside a loop, with the number of rounds it has finished."""

    __slots__ = ("item", "number")

    def __init__(self, item: Any, number: int) -> None:
        self.item = item
        self.number = number

    def __repr__(self) -> str:
        return f"Round({self.item!r}, {self.number})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Round, (self.item, self.number))


def enter(item: Any) -> Round:
    """First node of a loop."""
    return Round(item, 0)


def count(item: Round) -> Round:
    """On the feedback edge: one more round is done."""
    return Round(item.item, item.number + 1)


def leave(item: Round) -> Any:
    """Last node of a loop."""
    return item.item


def collapse(items: list[Round]) -> Round:
    """A window or batch of wrapped items as one wrapped list; it has the latest round of them."""
    return Round([each.item for each in items], max(each.number for each in items))


class _Adapter(BaseFunction):
    """Runs the function of ``spec`` on what is inside the wrapper."""

    adapts = True

    def __init__(self, spec: FunctionSpec, kind: str) -> None:
        super().__init__()
        self.inner = spec.instantiate()
        self.step_kind = kind
        self.call = getattr(self.inner, "execute", self.inner)
        self.effect = bool(getattr(self.inner, "effect", False))  # type: ignore[misc]

    def open(self, ctx: Any) -> None:
        if isinstance(self.inner, BaseFunction):
            self.inner.ctx = ctx
        if hasattr(self.inner, "open"):
            self.inner.open(ctx)

    def close(self) -> None:
        if hasattr(self.inner, "close"):
            self.inner.close()


class InLoop(_Adapter):
    """One item in, one result out; for filters, keys, routes and sinks the bare result."""

    def execute(self, item: Round) -> Any:
        result = self.call(item.item)
        return Round(result, item.number) if self.step_kind in ("map", "fallback") else result


class InLoopBatch(InLoop):
    """Like ``InLoop`` for functions with ``execute_batch``."""

    def execute_batch(self, items: list[Round]) -> list[Any]:
        results = self.inner.execute_batch([each.item for each in items])
        return [Round(x, each.number) for x, each in zip(results, items, strict=True)]


class InLoopAsync(_Adapter):
    """Like ``InLoop`` for ``async def`` functions."""

    async def execute(self, item: Round) -> Any:
        result = await self.call(item.item)
        return Round(result, item.number) if self.step_kind in ("map", "fallback") else result


class InLoopFlat(_Adapter):
    """One item in, any number out, each in the round of its input."""

    kind = "flatmap"

    def execute(self, item: Round) -> Iterator[Round]:
        results = self.call(item.item)
        for x in results or ():
            yield Round(x, item.number)
        for x in self.inner.__dict__.pop("_collected", ()) if self._collects() else ():
            yield Round(x, item.number)

    def _collects(self) -> bool:
        return isinstance(self.inner, BaseFunction)


class InLoopFlatAsync(InLoopFlat):
    """Like ``InLoopFlat`` for ``async def`` functions that return an iterable."""

    async def execute(self, item: Round) -> list[Round]:  # type: ignore[override]
        results = list(await self.call(item.item) or ())
        if self._collects():
            results.extend(self.inner.__dict__.pop("_collected", ()))
        return [Round(x, item.number) for x in results]


class InLoopReduce(_Adapter):
    """Accumulator and item; the accumulator travels in the round of the latest item."""

    def execute(self, accumulator: Any, item: Round) -> Round:
        if isinstance(accumulator, Round):
            accumulator = accumulator.item
        return Round(self.call(accumulator, item.item), item.number)


class InLoopJoin(_Adapter):
    """A pair; the result has the later round of both."""

    kind = "join"

    def execute(self, left: Round | None, right: Round | None) -> Round:
        result = self.call(left and left.item, right and right.item)
        return Round(result, max(x.number for x in (left, right) if x is not None))


class InLoopCoMap(_Adapter, CoMapFunction[Any, Any, Any]):
    """Both inputs of a connected stream."""

    def map1(self, item: Round) -> Round:
        return Round(self.inner.map1(item.item), item.number)

    def map2(self, item: Round) -> Round:
        return Round(self.inner.map2(item.item), item.number)


class InLoopWindow(_Adapter):
    """The items of a window; the result has the latest round of them."""

    def execute(self, items: list[Round]) -> Round:
        packed = collapse(items)
        return Round(self.call(packed.item), packed.number)


class InLoopProcess(_Adapter, ProcessFunction[Any, Any]):
    """Keyed processing; what a timer yields has the round of the latest item of its key."""

    def open(self, ctx: Any) -> None:
        super().open(ctx)
        self.round = ctx.value_state("iterate.round", 0)

    def process(self, item: Round) -> Iterator[Round]:
        self.round.value = item.number
        for x in self.inner.process(item.item) or ():
            yield Round(x, item.number)

    def on_timer(self, timestamp: float) -> Iterable[Round]:
        number = self.round.value
        return [Round(x, number) for x in self.inner.on_timer(timestamp) or ()]


class Decide:
    """Route of the loop: ``done`` when ``until`` holds or the rounds are used up."""

    def __init__(self, until: Any, max_iterations: int) -> None:
        self.until = until
        self.max_iterations = max_iterations

    def __call__(self, item: Round) -> str:
        last = item.number + 1 >= self.max_iterations
        return DONE if last or self.until(item.item) else AGAIN


class DecideAsync(Decide):
    """Like ``Decide`` for an ``async def`` predicate."""

    async def __call__(self, item: Round) -> str:  # type: ignore[override]
        last = item.number + 1 >= self.max_iterations
        return DONE if last or await self.until(item.item) else AGAIN


def adapt(spec: FunctionSpec, kind: str) -> FunctionSpec:
    """The function of a body step, made to work on wrapped items.

    Raises:
        GraphError: A step of this kind cannot be inside a loop.
    """
    if kind == "source":
        raise GraphError("iterate: a source cannot be created inside of the loop body")
    target = spec.target
    method = getattr(target, "execute", None) or (
        getattr(target, "__call__", None) if spec.is_class else target  # noqa: B004
    )
    coroutine = is_coroutine_function(method)
    adapter: type[_Adapter]
    if kind == "flatmap":
        adapter = InLoopFlatAsync if coroutine else InLoopFlat
    elif kind in _SPECIAL:
        adapter = _SPECIAL[kind]
    elif coroutine:
        adapter = InLoopAsync
    elif kind == "map" and hasattr(target, "execute_batch"):
        adapter = InLoopBatch
    else:
        adapter = InLoop
    return FunctionSpec(adapter, (spec, kind))


_SPECIAL: dict[str, type[_Adapter]] = {
    "comap": InLoopCoMap,
    "join": InLoopJoin,
    "process": InLoopProcess,
    "reduce": InLoopReduce,
    "window": InLoopWindow,
}


def unwrapped(spec: FunctionSpec) -> FunctionSpec:
    """The user's function behind an adapter, or ``spec`` itself."""
    if spec.is_class and getattr(spec.target, "adapts", False):
        inner: FunctionSpec = spec.args[0]
        return inner
    return spec
