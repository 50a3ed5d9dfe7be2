"""The fluent API: streams whose methods declare steps.

A stream is a handle on one output of one node; nothing runs before ``env.submit()``. Every step
takes a class and its config, an instance, a plain or ``async`` function, a lambda, or the
registered name of an operator, and the options of ``StepOptions`` as keywords; further keywords go
to the constructor of a class. ``key=f`` is short for ``.key_by(f)`` in front of the step.

Predecessor: ``sage.api.base_environment``; successor: ``sage.kernel.graph``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from sage.api._checks import check_positive, check_routes
from sage.api.functions import (
    BaseFunction,
    FilterFunction,
    FlatMapFunction,
    MapFunction,
    ProcessFunction,
)
from sage.common.errors import GraphError
from sage.kernel.graph.builder import add_node, split_options, step_spec
from sage.kernel.graph.loops import adapt
from sage.kernel.graph.model import DEAD_LETTER, Edge, FunctionSpec, Node
from sage.kernel.graph.steps import make_spec

if TYPE_CHECKING:
    from sage.api.base_environment import BaseEnvironment
    from sage.api.connected import ConnectedStreams, RoutedStream

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
R = TypeVar("R")

AnyStep = str | type[Any] | BaseFunction
"""A step whose types only the graph builder can see: a registered name, a plain class."""


class SinkHandle:
    """What ``sink`` and ``print`` return: the end of a stream.

    Attributes:
        name: Unique shown name of the step.
        uid: Stable identity of the step.
    """

    __slots__ = ("_env", "_node", "name", "uid")

    def __init__(self, env: BaseEnvironment, node: Node) -> None:
        self._env = env
        self._node = node
        self.name = node.name
        self.uid = node.uid

    def dead_letters(self) -> DataStream[dict[str, Any]]:
        """What this sink could not take; see ``DataStream.dead_letters``."""
        return DataStream[Any](self._env, self._node).dead_letters()

    def __repr__(self) -> str:
        return f"SinkHandle({self.name!r})"


class DataStream(Generic[T]):
    """Items of type ``T`` that one step gives to the next."""

    __slots__ = ("_env", "_loop", "_node", "_port")

    def __init__(
        self, env: BaseEnvironment, node: Node, port: str | None = None, loop: str | None = None
    ) -> None:
        self._env = env
        self._node = node
        self._port = port
        self._loop = loop

    @property
    def name(self) -> str:
        """Unique shown name of the step that makes this stream."""
        return self._node.name

    @property
    def uid(self) -> str:
        """Stable identity of the step that makes this stream."""
        return self._node.uid

    @property
    def environment(self) -> BaseEnvironment:
        """The environment the stream belongs to."""
        return self._env

    @property
    def edge(self) -> Edge:
        """The output of the graph that this stream stands for."""
        return Edge(self._node.id, self._port)

    def __repr__(self) -> str:
        port = "" if self._port is None else f"[{self._port!r}]"
        return f"{type(self).__name__}({self._node.name!r}{port})"

    def __iter__(self) -> Any:
        raise GraphError(
            f"stream {self.name!r} cannot be iterated while it is declared: end it with "
            ".sink(...) and call env.submit()"
        )

    # one item to one item

    @overload
    def map(
        self, step: type[MapFunction[T, U]], /, *args: Any, **options: Any
    ) -> DataStream[U]: ...
    @overload
    def map(self, step: MapFunction[T, U], /, **options: Any) -> DataStream[U]: ...
    @overload
    def map(
        self, step: Callable[[T], Coroutine[Any, Any, U]], /, **options: Any
    ) -> DataStream[U]: ...
    @overload
    def map(self, step: Callable[[T], U], /, **options: Any) -> DataStream[U]: ...
    @overload
    def map(self, step: AnyStep, /, *args: Any, **options: Any) -> DataStream[Any]: ...
    def map(self, step: Any, /, *args: Any, **options: Any) -> DataStream[Any]:
        """One result per item; ``None`` is a value.

        Raises:
            GraphError: The step or an option is wrong.
        """
        return self._step("map", step, args, options)

    @overload
    def flatmap(
        self, step: type[FlatMapFunction[T, U]], /, *args: Any, **options: Any
    ) -> DataStream[U]: ...
    @overload
    def flatmap(self, step: FlatMapFunction[T, U], /, **options: Any) -> DataStream[U]: ...
    @overload
    def flatmap(
        self, step: Callable[[T], Coroutine[Any, Any, Iterable[U] | None]], /, **options: Any
    ) -> DataStream[U]: ...
    @overload
    def flatmap(
        self, step: Callable[[T], Iterable[U] | None], /, **options: Any
    ) -> DataStream[U]: ...
    @overload
    def flatmap(self, step: AnyStep, /, *args: Any, **options: Any) -> DataStream[Any]: ...
    def flatmap(self, step: Any, /, *args: Any, **options: Any) -> DataStream[Any]:
        """Each element of what the step returns or yields for an item; ``None`` is no element."""
        return self._step("flatmap", step, args, options)

    @overload
    def filter(
        self, step: type[FilterFunction[T]], /, *args: Any, **options: Any
    ) -> DataStream[T]: ...
    @overload
    def filter(
        self, step: Callable[[T], Any] | FilterFunction[T], /, **options: Any
    ) -> DataStream[T]: ...
    @overload
    def filter(self, step: AnyStep, /, *args: Any, **options: Any) -> DataStream[T]: ...
    def filter(self, step: Any, /, *args: Any, **options: Any) -> DataStream[T]:
        """The items for which the step is true."""
        return self._same(self._step("filter", step, args, options))

    def key_by(self, step: Any, /, *args: Any, **options: Any) -> KeyedStream[T]:
        """The same items, with ``step(item)`` as their key.

        Items of a key stay together and in order, and steps after it have keyed state. A string
        that names no registered operator is refused: use ``lambda item: item["field"]`` for a
        field.
        """
        node = self._add("keyby", (make_spec(step, args, *_parts(options), "keyby"),), options)
        return KeyedStream(self._env, node, loop=self._loop)

    keyby = key_by

    # several streams

    def union(self, *others: DataStream[T], **options: Any) -> DataStream[T]:
        """Items of all streams as they come; each stream stays in order."""
        if not others:
            raise GraphError(f"union of {self.name!r}: give at least one other stream")
        inputs = [self.edge, *(self._of(other, "union").edge for other in others)]
        return DataStream(self._env, self._add("union", (), options, inputs), loop=self._loop)

    def connect(self, other: DataStream[U]) -> ConnectedStreams[T, U]:
        """Two streams of different types, for ``comap`` or ``join``."""
        from sage.api.connected import ConnectedStreams  # noqa: PLC0415 - it imports this module

        self._of(other, "connect")
        return ConnectedStreams(self, other)

    def route(
        self, step: Any, /, *args: Any, routes: Sequence[str] | None = None, **options: Any
    ) -> RoutedStream[T]:
        """Send each item to the stream that ``step(item)`` names.

        Args:
            step: Gives the name of a route.
            args: Configuration of the step, when it is a class.
            routes: All names; without it they are those that are asked for with ``routed[name]``.
            options: Step options.
        """
        from sage.api.connected import RoutedStream  # noqa: PLC0415 - it imports this module

        if routes is not None:
            check_routes(routes)
        spec = make_spec(step, args, *_parts(options), "route")
        node = self._add("route", (spec,), options, params={"ports": tuple(routes or ())})
        return RoutedStream(self, node, fixed=routes is not None)

    def split(self, *predicates: Callable[[T], Any], **options: Any) -> list[DataStream[T]]:
        """One stream per predicate and a last one for the rest; the first match takes the item.

        Streams that are not wanted are ended with ``discard()``.
        """
        from sage.api.connected import RoutedStream  # noqa: PLC0415 - it imports this module
        from sage.kernel.graph.splits import make_splitter  # noqa: PLC0415 - only for splits

        names = tuple(str(i) for i in range(len(predicates)))
        if not names:
            raise GraphError(f"split of {self.name!r}: give at least one predicate")
        spec = make_splitter([step_spec(p, "filter") for p in predicates])
        node = self._add("route", (spec,), options, params={"ports": names}, label="split")
        routed: RoutedStream[T] = RoutedStream(self, node, fixed=True)
        return [*(routed[name] for name in names), routed.default]

    def branch(self, *builders: Callable[[DataStream[T]], R]) -> list[R]:
        """Give every item to each of the builders, and return what they made.

        Args:
            builders: Each is called once, now, with this stream: ``lambda s: s.map(...)``.

        Raises:
            GraphError: There is none, or one took the stream for an item.
        """
        if not builders:
            raise GraphError(f"branch of {self.name!r}: give at least one builder function")
        made = []
        for nth, builder in enumerate(builders, 1):
            try:
                made.append(builder(self))
            except TypeError as error:
                raise GraphError(
                    f"branch of {self.name!r}: builder {nth} failed with {error}; it is given the "
                    "stream, as in branch(lambda s: s.map(f), lambda s: s.filter(g)); to send each "
                    "item one way use split(condition) or route(function)"
                ) from error
        return made

    def fallback(self, primary: Any, /, *backups: Any, **options: Any) -> DataStream[Any]:
        """Try steps in order until one neither raises nor exceeds ``timeout`` (seconds, per try).

        Args:
            primary, backups: Each a callable, class, registered name, or ``(class, config)``.
            options: Step options.
        """
        given, rest = split_options(options)
        if not backups:
            raise GraphError(f"fallback after {self.name!r}: give at least one backup step")
        if rest:
            make_spec(lambda x: x, (), rest, "fallback")  # words the error about the option
        specs = tuple(step_spec(step, "fallback") for step in (primary, *backups))
        return DataStream(self._env, self._add("fallback", specs, given), loop=self._loop)

    def iterate(
        self,
        body: Callable[[DataStream[T]], DataStream[T]],
        *,
        until: Callable[[T], Any],
        max_iterations: int,
        name: str | None = None,
    ) -> DataStream[T]:
        """Send each item through ``body`` until ``until(item)`` is true.

        That is at least once and at most ``max_iterations`` times. Items loop independently of each
        other.

        Args:
            body: Declares the steps of one round on the stream it is given.
            until: Asked after each round; may be ``async``.
            max_iterations: Rounds of an item at most, >= 1.
            name: Shown name of the loop.

        Raises:
            GraphError: The body does not return a stream of its own, or an argument is wrong.
        """
        from sage.api._loop import build_loop  # noqa: PLC0415 - loops are rare

        return build_loop(self, body, until, max_iterations, name)

    # groups of items

    def window(
        self,
        fn: Any = None,
        /,
        *args: Any,
        count: int | None = None,
        seconds: float | None = None,
        slide: float | None = None,
        **options: Any,
    ) -> DataStream[Any]:
        """Groups of items, per key after ``key_by``; each is given to ``fn`` as a list.

        Args:
            fn: Makes the result of a window from its list; without it the list is the result.
            args: Configuration of ``fn``, when it is a class.
            count: Length of a window in items.
            seconds: Length of a window in seconds of processing time.
            slide: Distance between the starts of windows in the same unit; default: the length
                (tumbling windows).
            options: Step options.
        """
        if (count is None) == (seconds is None):
            raise GraphError("window: give either count=(items) or seconds=(length), not both")
        size = count if count is not None else seconds
        slide = size if slide is None else slide
        if count is not None:
            check_positive("window", "count", count, whole=True)
            check_positive("window", "slide", slide, whole=True)
        else:
            check_positive("window", "seconds", size)
            check_positive("window", "slide", slide)
        given, rest = split_options(options)
        spec = (make_spec(fn, args, rest, "window"),) if fn is not None else ()
        if fn is None and (args or rest):
            make_spec(lambda x: x, args, rest, "window")
        kind = "count" if count is not None else "time"
        params = {"type": kind, "size": size, "slide": slide}
        node = self._add("window", spec, given, params=params)
        return self._after_group(node)

    def batch(self, size: int, timeout: float | None = None, **options: Any) -> DataStream[list[T]]:
        """Lists of ``size`` items.

        A shorter one comes at the end, or when its first item has waited ``timeout`` seconds.
        """
        check_positive("batch", "size", size, whole=True)
        if timeout is not None:
            check_positive("batch", "timeout", timeout)
        given, rest = split_options(options)
        if rest:
            make_spec(lambda x: x, (), rest, "batch")
        node = self._add("batch", (), given, params={"size": size, "timeout": timeout})
        return self._after_group(node)

    @overload
    def process(
        self, step: type[ProcessFunction[T, U]], /, *args: Any, **options: Any
    ) -> DataStream[U]: ...
    @overload
    def process(self, step: ProcessFunction[T, U], /, **options: Any) -> DataStream[U]: ...
    @overload
    def process(self, step: AnyStep, /, *args: Any, **options: Any) -> DataStream[Any]: ...
    def process(self, step: Any, /, *args: Any, **options: Any) -> DataStream[Any]:
        """A ``ProcessFunction``; state and timers need ``key_by`` in front of it."""
        return self._step("process", step, args, options)

    def reduce(self, fn: Callable[[T, T], T], **options: Any) -> DataStream[T]:
        """The running ``fn(accumulator, item)``, emitted for every item.

        It is per key after ``key_by``, else over the whole stream. The first item is the first
        accumulator.
        """
        return DataStream(
            self._env,
            self._add("reduce", (make_spec(fn, (), *_parts(options), "reduce"),), options),
            loop=self._loop,
        )

    def aggregate(
        self, initial: U | Callable[[], U], fn: Callable[[U, T], U], **options: Any
    ) -> DataStream[U]:
        """Like ``reduce`` with a start value per key: a value, or a function that makes one."""
        spec = make_spec(fn, (), *_parts(options), "reduce")
        start: Any = initial
        if isinstance(initial, (list, dict, set, bytearray)):
            from copy import deepcopy  # noqa: PLC0415

            template = deepcopy(initial)
            start = lambda: deepcopy(template)  # noqa: E731 - each key needs its own
        node = self._add("reduce", (spec,), options, params={"initial": start})
        return DataStream(self._env, node, loop=self._loop)

    # ends

    def sink(self, step: Any, /, *args: Any, **options: Any) -> SinkHandle:
        """Give the items to ``step``; what it returns is ignored."""
        return SinkHandle(self._env, self._step("sink", step, args, options)._node)

    def print(self, prefix: str = "", limit: int | None = None, **options: Any) -> SinkHandle:
        """Print items, one line each, at most ``limit`` of them."""
        from sage.kernel.graph.sinks import PrintSink  # noqa: PLC0415

        if limit is not None:
            check_positive("print", "limit", limit, whole=True)
        given, rest = split_options(options)
        if rest:
            make_spec(lambda x: x, (), rest, "sink")
        spec = FunctionSpec(PrintSink, ({"prefix": prefix, "limit": limit},))
        return SinkHandle(self._env, self._add("sink", (spec,), given, label="print"))

    def discard(self, **options: Any) -> SinkHandle:
        """Drop the items on purpose."""
        from sage.kernel.graph.sinks import DiscardSink  # noqa: PLC0415

        spec = FunctionSpec(DiscardSink)
        return SinkHandle(self._env, self._add("sink", (spec,), options, label="discard"))

    def dead_letters(self) -> DataStream[dict[str, Any]]:
        """The items that this step gave up on; sets ``on_error="dead_letter"`` on the step.

        They are dicts with ``job, operator, uid, item_id, item`` and ``error``.

        Raises:
            GraphError: The step has another ``on_error`` policy.
        """
        node = self._node
        if node.options.on_error not in ("fail", "dead_letter"):
            raise GraphError(
                f"step {node.name!r} has on_error={_policy(node.options.on_error)}, so it has no "
                "dead letters: give it on_error='dead_letter'"
            )
        node.options.on_error = "dead_letter"
        return DataStream(self._env, node, DEAD_LETTER)

    # construction

    def _step(
        self, kind: str, step: Any, args: tuple[Any, ...], options: Mapping[str, Any]
    ) -> DataStream[Any]:
        given, rest = split_options(options)
        source: DataStream[Any] = self
        if "key" in rest and callable(rest["key"]):
            source = self.key_by(rest.pop("key"))
        spec = make_spec(step, args, rest, kind)
        node = source._add(kind, (spec,), given)
        return DataStream(self._env, node, loop=self._loop)

    def _add(
        self,
        kind: str,
        specs: tuple[FunctionSpec, ...],
        options: Mapping[str, Any],
        inputs: Sequence[Edge] | None = None,
        params: Mapping[str, Any] | None = None,
        label: str | None = None,
    ) -> Node:
        given, _ = split_options(options)
        params = dict(params or {})
        if self._loop is not None and self._port != DEAD_LETTER:
            params["loop"] = self._loop
            label = label or (specs[0].label if specs else None)
            if given.get("effect") is None and any(getattr(s.target, "effect", 0) for s in specs):
                given["effect"] = True
            specs = tuple(adapt(spec, kind) for spec in specs)
        return add_node(
            self._env.stream_graph,
            kind,
            specs=specs,
            options=given,
            inputs=[self.edge] if inputs is None else inputs,
            params=params,
            label=label,
        )

    def _same(self, made: DataStream[Any]) -> DataStream[T]:
        return made

    def _after_group(self, node: Node) -> DataStream[Any]:
        stream: DataStream[Any] = DataStream(self._env, node, loop=self._loop)
        if self._loop is None or node.specs:
            return stream
        from sage.kernel.graph.loops import collapse  # noqa: PLC0415

        packed = add_node(
            self._env.stream_graph,
            "map",
            specs=(FunctionSpec(collapse),),
            inputs=[stream.edge],
            params={"loop": self._loop},
        )
        return DataStream(self._env, packed, loop=self._loop)

    def _of(self, other: DataStream[Any], what: str) -> DataStream[Any]:
        if not isinstance(other, DataStream):
            raise GraphError(f"{what} of {self.name!r}: expected a stream, got {other!r}")
        if other._env is not self._env:
            raise GraphError(
                f"{what}: {self.name!r} and {other.name!r} belong to different environments "
                f"({self._env.name!r} and {other._env.name!r})"
            )
        if other._loop != self._loop:
            raise GraphError(
                f"{what}: {self.name!r} and {other.name!r} are not in the same loop: a loop body "
                "can only combine streams that it made itself"
            )
        return other


class KeyedStream(DataStream[T]):
    """A stream whose items have a key; state, windows and reductions are per key."""

    __slots__ = ()

    def _same(self, made: DataStream[Any]) -> KeyedStream[T]:
        return KeyedStream(made._env, made._node, made._port, made._loop)


def _parts(options: Mapping[str, Any]) -> tuple[dict[str, Any]]:
    return (split_options(options)[1],)


def _policy(policy: Any) -> str:
    return policy.label if isinstance(policy, FunctionSpec) else repr(policy)
