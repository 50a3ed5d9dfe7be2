"""Route functions of ``split``: the index of the first predicate that holds.

Predecessor: ``sage.api.datastream``; successor: the runtime, which sees a plain route.
"""

from __future__ import annotations

from typing import Any

from sage.api.functions import BaseFunction
from sage.kernel.graph.model import DEFAULT_ROUTE, FunctionSpec
from sage.kernel.graph.steps import is_coroutine_function


class Split(BaseFunction):
    """Route of a split; owns the predicates, so that those with ``open`` and ``close`` work."""

    def __init__(self, specs: list[FunctionSpec]) -> None:
        super().__init__()
        self.parts = [spec.instantiate() for spec in specs]
        self.calls = [(str(i), getattr(part, "execute", part)) for i, part in enumerate(self.parts)]

    def open(self, ctx: Any) -> None:
        for part in self.parts:
            if isinstance(part, BaseFunction):
                part.ctx = ctx
            if hasattr(part, "open"):
                part.open(ctx)

    def close(self) -> None:
        for part in self.parts:
            if hasattr(part, "close"):
                part.close()

    def execute(self, item: Any) -> str:
        for name, call in self.calls:
            if call(item):
                return name
        return DEFAULT_ROUTE


class SplitAsync(Split):
    """Like ``Split`` where a predicate is ``async def``."""

    async def execute(self, item: Any) -> str:  # type: ignore[override]
        for name, call in self.calls:
            result = call(item)
            if hasattr(result, "__await__"):
                result = await result
            if result:
                return name
        return DEFAULT_ROUTE


def make_splitter(specs: list[FunctionSpec]) -> FunctionSpec:
    """The route function over the predicates ``specs``; a plain closure where that is enough."""
    methods = [getattr(spec.target, "execute", spec.target) for spec in specs]
    if any(is_coroutine_function(method) for method in methods):
        return FunctionSpec(SplitAsync, (specs,))
    plain = all(not spec.is_class and not isinstance(spec.target, BaseFunction) for spec in specs)
    if not plain:
        return FunctionSpec(Split, (specs,))
    if len(specs) == 1:
        only = specs[0].target

        def split_one(item: Any) -> str:
            return "0" if only(item) else DEFAULT_ROUTE

        split_one.predicates = specs  # type: ignore[attr-defined]
        return FunctionSpec(split_one)
    calls = [(str(i), spec.target) for i, spec in enumerate(specs)]

    def split(item: Any) -> str:
        for name, call in calls:
            if call(item):
                return name
        return DEFAULT_ROUTE

    split.predicates = specs  # type: ignore[attr-defined]
    return FunctionSpec(split)


def predicates(spec: FunctionSpec) -> list[FunctionSpec] | None:
    """The predicates of a function made by ``make_splitter``, else ``None``."""
    if spec.is_class and issubclass(spec.target, Split):
        found: list[FunctionSpec] = spec.args[0]
        return found
    return getattr(spec.target, "predicates", None)
