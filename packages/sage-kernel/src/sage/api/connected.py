"""Two streams side by side (``connect``), and one stream with several outputs (``route``).

Predecessor: ``sage.api.datastream``; successor: ``sage.kernel.graph``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar, overload

from sage.api._checks import check_positive, check_routes
from sage.api.datastream import AnyStep, DataStream
from sage.api.functions import CoMapFunction, JoinFunction
from sage.common.errors import GraphError
from sage.kernel.graph.builder import split_options
from sage.kernel.graph.model import DEFAULT_ROUTE, FunctionSpec, Node
from sage.kernel.graph.steps import make_spec, pair

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
R = TypeVar("R")


class RoutedStream(Generic[T]):
    """Outputs of a ``route``: ``routed["name"]``, and ``routed.default`` for other names."""

    __slots__ = ("_fixed", "_node", "_stream")

    def __init__(self, stream: DataStream[T], node: Node, fixed: bool) -> None:
        self._stream = stream
        self._node = node
        self._fixed = fixed

    @property
    def routes(self) -> tuple[str, ...]:
        """The named routes so far."""
        ports: tuple[str, ...] = self._node.params["ports"]
        return ports

    @property
    def default(self) -> DataStream[T]:
        """Items whose route no other stream has. When nobody reads it, such an item fails."""
        return self._port(DEFAULT_ROUTE)

    def __getitem__(self, route: str) -> DataStream[T]:
        if route == DEFAULT_ROUTE:
            return self.default
        ports = self._node.params["ports"]
        if route not in ports:
            if self._fixed:
                from sage.kernel.graph.options import suggest  # noqa: PLC0415

                raise GraphError(
                    f"step {self._node.name!r} has no route {route!r}{suggest(str(route), ports)} "
                    f"(routes: {', '.join(ports)})"
                )
            check_routes([route])
            self._node.params["ports"] = (*ports, route)
        return self._port(route)

    def _port(self, route: str) -> DataStream[T]:
        made: DataStream[T] = DataStream(self._stream._env, self._node, route, self._stream._loop)
        return self._stream._same(made)

    def __iter__(self) -> Any:
        return iter([self[route] for route in self.routes])

    def __repr__(self) -> str:
        return f"RoutedStream({self._node.name!r}, routes={list(self.routes)})"


class ConnectedStreams(Generic[T, U]):
    """Two streams, to be mapped to one type (``comap``) or paired by key (``join``)."""

    __slots__ = ("_left", "_right")

    def __init__(self, left: DataStream[T], right: DataStream[U]) -> None:
        self._left = left
        self._right = right

    def key_by(self, left: Any, right: Any | None = None, **options: Any) -> ConnectedStreams[T, U]:
        """Key both streams; ``right`` defaults to the function of ``left``."""
        return ConnectedStreams(
            self._left.key_by(left, **options),
            self._right.key_by(left if right is None else right, **options),
        )

    keyby = key_by

    @overload
    def comap(
        self, first: type[CoMapFunction[T, U, V]], /, *args: Any, **options: Any
    ) -> DataStream[V]: ...
    @overload
    def comap(self, first: CoMapFunction[T, U, V], /, **options: Any) -> DataStream[V]: ...
    @overload
    def comap(
        self, first: Callable[[T], V], second: Callable[[U], R], /, **options: Any
    ) -> DataStream[V | R]: ...
    @overload
    def comap(self, first: AnyStep, /, *args: Any, **options: Any) -> DataStream[Any]: ...
    def comap(self, first: Any, /, *args: Any, **options: Any) -> DataStream[Any]:
        """One output from both inputs: a ``CoMapFunction``, or one callable per input."""
        given, rest = split_options(options)
        plain = callable(first) and not hasattr(first, "map1")
        if plain:
            if len(args) != 1 or not callable(args[0]):
                raise GraphError(
                    "comap takes a CoMapFunction class (and its config) or two callables, one "
                    f"for each stream; got {1 + len(args)} argument(s)"
                )
            specs = tuple(make_spec(step, (), rest, "map") for step in (first, args[0]))
        else:
            specs = (make_spec(first, args, rest, "comap"),)
        return self._add("comap", specs, given)

    def join(
        self,
        fn: Callable[[Any, Any], V] | type[JoinFunction[Any, Any, V]] | Any = None,
        /,
        *args: Any,
        how: Literal["inner", "left", "right", "outer"] = "inner",
        match: Literal["all", "one"] = "all",
        window: float | None = None,
        **options: Any,
    ) -> DataStream[V]:
        """Pair items with the same key; both streams must be keyed.

        Args:
            fn: Makes the result of a pair (default: the tuple). Where an outer join has no
                partner, that side is ``None``.
            args: Configuration of ``fn``, when it is a class.
            how: ``inner``, or which side is also emitted without a partner, when the input (or
                the window) ends.
            match: ``all`` pairs of a key, or each item at most ``one`` time, in order.
            window: Seconds for which an item waits for a partner; ``None``: until the end.
            options: Step options.
        """
        for word, value, allowed in (
            ("how", how, ("inner", "left", "right", "outer")),
            ("match", match, ("all", "one")),
        ):
            if value not in allowed:
                raise GraphError(f"join: {word} must be one of {', '.join(allowed)}, got {value!r}")
        if window is not None:
            check_positive("join", "window", window)
        given, rest = split_options(options)
        spec = make_spec(pair if fn is None else fn, args, rest, "join")
        return self._add("join", (spec,), given, {"how": how, "match": match, "window": window})

    def _add(
        self,
        kind: str,
        specs: tuple[FunctionSpec, ...],
        options: Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
    ) -> DataStream[Any]:
        inputs = [self._left.edge, self._right.edge]
        label = "+".join(spec.label for spec in specs)
        node = self._left._add(kind, specs, options, inputs, params, label)
        return DataStream(self._left._env, node, loop=self._left._loop)
