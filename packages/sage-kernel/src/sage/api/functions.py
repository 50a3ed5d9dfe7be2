"""Function contracts: the classes users derive from to write a step.

A step is a class with ``open(ctx)``, one method that handles an item, and ``close()``. The engine
makes one instance per subtask, calls ``open`` once before the first item, on the thread (or event
loop) that runs the step, then the item method once per item, and ``close`` once after the last item
or after a failure, always when ``open`` was called. Items are treated as immutable.

``execute`` may be ``async def``: the engine then runs up to ``concurrency`` items at a time on one
event loop. A function may also define ``execute_batch(self, items: list) -> list`` (same length,
same order); the engine prefers it when a batch is at hand.

Successor: ``sage.api.context`` (what ``open`` receives). This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext, ServiceCaller

In = TypeVar("In")
Out = TypeVar("Out")
Left = TypeVar("Left")
Right = TypeVar("Right")


_GENERATOR = 0x20  # CO_GENERATOR of a code object


class StopSignal:
    """The ``execute`` of a source returns this (class or instance) to say that it has ended."""

    def __repr__(self) -> str:
        return "StopSignal()"


class BaseFunction:
    """Base of every step contract.

    Args:
        config: A mapping, or an instance of ``Config`` where the class declares one. With a
            ``Config`` (an attrs class) the mapping is structured with exact types; errors name the
            key, what was found and what was expected.
        overrides: Single keys of ``config``, given as keywords.

    Attributes:
        Config: The typed configuration of the operator, or ``None``.
        effect: Whether ``execute`` has an effect or cost outside the job (a model or API call).
        calls_on_behalf: Whether objects that ``execute`` uses, such as embedding models, may make
            calls; with a ledger these are recorded as calls of the step.
        ctx: The runtime context, set just before ``open``.
    """

    Config: ClassVar[type | None] = None
    effect: ClassVar[bool] = False
    calls_on_behalf: ClassVar[bool] = False
    kind: ClassVar[str] = "map"
    ctx: RuntimeContext

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        cls = type(self)
        if overrides or cls.Config is not None:
            _check_mapping(cls, config)
        if cls.Config is not None and not isinstance(config, cls.Config):
            from sage.common.config import structure_config  # noqa: PLC0415 - attrs costs 40 ms

            config = structure_config(
                {**(config or {}), **overrides}, cls.Config, name=cls.__name__
            )
        elif overrides:
            config = {**(config or {}), **overrides}
        self.config: Any = config

    def open(self, ctx: RuntimeContext) -> None:
        """Acquire resources. Called once per subtask before the first item."""

    def close(self) -> None:
        """Release resources. Called once after ``open`` succeeded, also after failure or cancel."""

    @property
    def call_service(self) -> ServiceCaller:
        """Reach a service: ``call_service("name", *args, method="m")`` or ``["name"].m(...)``."""
        return self.ctx.call_service


class SourceFunction(BaseFunction, Generic[Out]):
    """Entry of a pipeline. Override ``run`` (a generator) or ``execute`` (one item per call)."""

    kind = "source"

    def run(self) -> Iterator[Out]:
        """Yield the items; returning ends the stream.

        The default calls ``execute`` until it returns ``StopSignal``; ``None`` is skipped.
        """
        if getattr(getattr(type(self).execute, "__code__", None), "co_flags", 0) & _GENERATOR:
            yield from self.execute()  # written as a generator: what it yields are the items
            return
        while True:
            item = self.execute()
            if isinstance(item, StopSignal) or item is StopSignal:
                return
            if item is not None:
                yield item

    def execute(self) -> Any:
        """Return the next item, ``None`` for "nothing now", or ``StopSignal`` at the end.

        Written as a generator (with ``yield``) it gives all items, as ``run`` does.
        """
        raise NotImplementedError(f"{type(self).__name__} must define run() or execute()")


class MapFunction(BaseFunction, Generic[In, Out]):
    """One item in, one item out; ``None`` is a value."""

    kind = "map"

    def execute(self, item: In) -> Out | Awaitable[Out]:
        raise NotImplementedError


class FlatMapFunction(BaseFunction, Generic[In, Out]):
    """One item in, any number out. Return an iterable, yield, or call ``self.collect(item)``."""

    kind = "flatmap"

    def execute(self, item: In) -> Iterable[Out] | Awaitable[Iterable[Out] | None] | None:
        raise NotImplementedError

    def collect(self, item: Out) -> None:
        """Emit an item from inside ``execute`` (an alternative to returning an iterable)."""
        self.__dict__.setdefault("_collected", []).append(item)


class FilterFunction(BaseFunction, Generic[In]):
    """Keep the items for which ``execute`` is true."""

    kind = "filter"

    def execute(self, item: In) -> bool | Awaitable[bool]:
        raise NotImplementedError


class KeyByFunction(BaseFunction, Generic[In]):
    """Compute the key of an item.

    Keys must be hashable: str, bytes, int, float, bool, None or tuples of these (partitioning uses
    a stable hash, not Python's salted one).
    """

    kind = "keyby"

    def execute(self, item: In) -> Any:
        raise NotImplementedError


class SinkFunction(BaseFunction, Generic[In]):
    """End of a pipeline; the return value is ignored."""

    kind = "sink"

    def execute(self, item: In) -> Awaitable[None] | None:
        raise NotImplementedError


class ProcessFunction(BaseFunction, Generic[In, Out]):
    """Keyed processing with state and timers.

    ``process`` and ``on_timer`` yield (or return an iterable of) outputs. Inside both, ``self.ctx``
    has the current ``key``, keyed state (``ctx.value_state(...)``) and
    ``ctx.register_timer(at)`` / ``ctx.register_timer_in(seconds)`` (processing time, unix seconds).
    Pending timers fire when the input ends, in time order.
    """

    kind = "process"

    def process(self, item: In) -> Iterable[Out] | None:
        raise NotImplementedError

    def on_timer(self, timestamp: float) -> Iterable[Out] | None:
        """Called once for each registered timer of a key."""
        return None


class CoMapFunction(BaseFunction, Generic[Left, Right, Out]):
    """Two connected inputs, one output type: ``map1`` for the first stream, ``map2`` the second."""

    kind = "comap"

    def map1(self, item: Left) -> Out:
        raise NotImplementedError

    def map2(self, item: Right) -> Out:
        raise NotImplementedError


class JoinFunction(BaseFunction, Generic[Left, Right, Out]):
    """Combine a pair of items with the same key."""

    kind = "join"

    def execute(self, left: Left, right: Right) -> Out:
        raise NotImplementedError


class BatchFunction(SourceFunction[Out]):
    """A finite source; the same contract as ``SourceFunction``, kept as a name of the field."""


def _check_mapping(cls: type[BaseFunction], config: Any) -> None:
    fits = config is None or hasattr(config, "keys")
    if not fits and not (cls.Config is not None and isinstance(config, cls.Config)):
        from sage.common.errors import ConfigError  # noqa: PLC0415

        raise ConfigError(
            f"{cls.__name__}: the configuration must be a mapping such as {{'key': value}}, "
            f"got {config!r}"
        )
