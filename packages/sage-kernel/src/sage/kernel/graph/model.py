"""The logical graph: what the user declared, before any decision of the compiler.

A ``StreamGraph`` is a list of ``Node`` with ``Edge`` inputs. Pure data: no threads, no clocks.
Predecessor: ``sage.api``; successor: ``sage.kernel.graph.validate``, then ``sage.kernel.compiler``.

Node kinds and what their ``spec`` is called with:

========== ==================================== ==========================================
kind       function                             output
========== ==================================== ==========================================
source     iterable, generator function, source the items
map        ``f(item)``                          the result
flatmap    ``f(item) -> iterable``              each element
filter     ``f(item) -> bool``                  the item, if true
keyby      ``f(item) -> key``                   the item; the key travels beside it
reduce     ``f(accumulator, item)``             the new accumulator of the key, every time
union      none                                 items of all inputs
comap      ``f1(item)`` / ``f2(item)``          the results, as they come (inputs 0 and 1)
join       ``f(left, right)``                   one result per matching pair (inputs 0 and 1)
route      ``f(item) -> route name``            the item, on the output port of that name
window     ``f(list)`` or none                  one result (or the list) per window
batch      none                                 lists of up to ``size`` items
process    ``ProcessFunction``                  what it yields
fallback   several functions, tried in order    the first result that did not raise
future     none                                 items of the stream that fills it (feedback)
sink       ``f(item)``                          nothing
========== ==================================== ==========================================

``split``, ``branch`` and ``iterate`` are built from these by the API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

KINDS = frozenset(
    [
        "source",
        "map",
        "flatmap",
        "filter",
        "keyby",
        "reduce",
        "union",
        "comap",
        "join",
        "route",
        "window",
        "batch",
        "process",
        "fallback",
        "future",
        "sink",
    ]
)

DEFAULT_ROUTE = "default"
"""Port of a route node that takes the items whose route name no other port has. When nothing reads
it, an item that lands there is an error of the route step."""

DEAD_LETTER = "dead_letter"
"""Port of any node: its dead letters, as dicts (``job, operator, uid, item_id, item, error``)."""


class FunctionSpec:
    """How to get the function of a step in each subtask.

    Attributes:
        target: A class (instantiated per subtask with ``args`` and ``kwargs``), an instance of
            ``BaseFunction`` (shared), or a plain callable or iterable.
        args, kwargs: Constructor arguments when ``target`` is a class.
        is_class: Whether ``target`` is a class to instantiate.
        registered: Registered name, when the step was given as a string, else ``None``.
    """

    __slots__ = ("args", "is_class", "kwargs", "registered", "target")

    def __init__(
        self,
        target: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        registered: str | None = None,
    ) -> None:
        self.target = target
        self.args = args
        self.kwargs = dict(kwargs or {})
        self.is_class = isinstance(target, type)
        self.registered = registered

    def instantiate(self) -> Any:
        """The object to run: a new instance for a class, the target itself otherwise."""
        return self.target(*self.args, **self.kwargs) if self.is_class else self.target

    @property
    def label(self) -> str:
        """Short human name of the function."""
        if self.registered:
            return self.registered
        target = self.target if self.is_class else getattr(self.target, "func", self.target)
        name = getattr(target, "__name__", None) or type(target).__name__
        return "lambda" if name == "<lambda>" else str(name)


class StepOptions:
    """Options every step takes; ``None`` means "the engine decides".

    Attributes:
        parallelism: Number of subtasks (threads or processes), >= 1.
        concurrency: Calls in flight at a time of an async step, >= 1.
        ordered: Whether outputs keep the order of inputs (default true, except keyed parallelism,
            which keeps order per key).
        executor: ``"thread"`` or ``"process"``.
        batch_size: Largest batch given to ``execute_batch``.
        linger: Seconds to wait for a batch to fill (default 0: batches form by themselves).
        retry: ``RetryPolicy``, mapping or int (attempts after the first), see the policy module.
        timeout: Seconds allowed for one call.
        on_error: ``"fail"``, ``"skip"``, ``"dead_letter"``, a ``FunctionSpec`` to fall back to.
        name: Shown name. ``uid``: stable name of the step's state.
        num_cpus, num_gpus: Resources for the Ray runner.
        effect: Whether the step has effects outside (``None``: as its class says).
        cache: Where the responses to its calls may come from, with a ledger: ``"run"`` (this run,
            the default), ``"shared"`` (those of steps that share, in any run), ``"off"`` (none).
        type: Explicit output type, for callables without annotations.
    """

    __slots__ = (
        "batch_size",
        "cache",
        "concurrency",
        "effect",
        "executor",
        "linger",
        "name",
        "num_cpus",
        "num_gpus",
        "on_error",
        "ordered",
        "parallelism",
        "retry",
        "timeout",
        "type",
        "uid",
    )

    def __init__(
        self,
        *,
        parallelism: int | None = None,
        concurrency: int | None = None,
        ordered: bool | None = None,
        executor: str = "thread",
        batch_size: int | None = None,
        linger: float | None = None,
        retry: Any = None,
        timeout: float | None = None,
        on_error: Any = "fail",
        name: str | None = None,
        uid: str | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        effect: bool | None = None,
        cache: str | None = None,
        type: Any = None,  # noqa: A002 - the name users write
    ) -> None:
        self.parallelism = parallelism
        self.concurrency = concurrency
        self.ordered = ordered
        self.executor = executor
        self.batch_size = batch_size
        self.linger = linger
        self.retry = retry
        self.timeout = timeout
        self.on_error = on_error
        self.name = name
        self.uid = uid
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.effect = effect
        self.cache = cache
        self.type = type

    def items(self) -> Iterator[tuple[str, Any]]:
        """Options that differ from the default."""
        for slot in self.__slots__:
            value = getattr(self, slot)
            if value != _DEFAULTS[slot]:
                yield slot, value


_DEFAULTS: dict[str, Any] = dict.fromkeys(StepOptions.__slots__)
_DEFAULTS.update(executor="thread", on_error="fail")
STEP_OPTIONS = frozenset(StepOptions.__slots__)


class Edge:
    """One input of a node: items of ``source`` (its output ``port`` where it has several)."""

    __slots__ = ("port", "source")

    def __init__(self, source: int, port: str | None = None) -> None:
        self.source = source
        self.port = port

    def __repr__(self) -> str:
        return f"Edge({self.source}{'' if self.port is None else ':' + self.port})"


class Node:
    """One declared step.

    Attributes:
        id: Unique within the graph. Two lambdas, or one class twice, are two nodes.
        kind: One of ``KINDS``.
        name: Unique shown name, e.g. ``"map-2:clean"``.
        uid: Stable identity of the state, given or derived from the name.
        spec: The function; ``None`` for union, batch, future. ``specs`` has all functions where a
            node has several (comap: two, fallback: in order).
        params: Settings of the kind: window ``{"type": "count"|"time", "size", "slide"}``, batch
            ``{"size", "timeout"}``, join ``{"match": "all"|"one", "how": "inner"|"left"|"right"
            |"outer", "window": seconds}``, reduce ``{"initial"}`` (absent: the first item of
            the key; callable: called once per key), route ``{"ports": (...)}`` (named ports; the
            default port is always there), future ``{"filled_by": Edge, "max_items": int|None}``,
            source ``{"finite": True}`` for batches, ``{"loop": name}`` on the steps of an
            ``iterate`` (their functions then are adapters, see ``sage.kernel.graph.loops``).
        inputs: Edges, in order; comap and join: exactly two.
        in_type, out_type: Declared types, ``None`` when unknown.
        location: ``(file, line)`` of the user's call, for messages.
    """

    __slots__ = (
        "id",
        "in_type",
        "inputs",
        "kind",
        "location",
        "name",
        "options",
        "out_type",
        "params",
        "specs",
        "uid",
    )

    def __init__(
        self,
        id: int,  # noqa: A002 - the field's word
        kind: str,
        name: str,
        *,
        uid: str,
        specs: tuple[FunctionSpec, ...] = (),
        options: StepOptions | None = None,
        inputs: tuple[Edge, ...] = (),
        params: Mapping[str, Any] | None = None,
        in_type: Any = None,
        out_type: Any = None,
        location: tuple[str, int] | None = None,
    ) -> None:
        self.id = id
        self.kind = kind
        self.name = name
        self.uid = uid
        self.specs = specs
        self.options = options or StepOptions()
        self.inputs = inputs
        self.params = dict(params or {})
        self.in_type = in_type
        self.out_type = out_type
        self.location = location

    @property
    def spec(self) -> FunctionSpec | None:
        """The first (usually the only) function."""
        return self.specs[0] if self.specs else None

    def __repr__(self) -> str:
        return f"Node({self.id}, {self.kind!r}, {self.name!r}, inputs={list(self.inputs)})"


class StreamGraph:
    """Nodes in declaration order, services and configuration of one environment.

    Attributes:
        services: name -> ``(factory or class, args, kwargs)``.
    """

    __slots__ = ("config", "name", "nodes", "services")

    def __init__(self, name: str, config: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.config: dict[str, Any] = dict(config or {})
        self.nodes: dict[int, Node] = {}
        self.services: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {}

    def consumers(self, node_id: int) -> list[tuple[Node, int]]:
        """Nodes that read ``node_id``, with the index of the input that does."""
        return [
            (node, i)
            for node in self.nodes.values()
            for i, edge in enumerate(node.inputs)
            if edge.source == node_id
        ]

    def is_keyed(self, edge: Edge) -> bool:
        """Whether a key travels beside the items of ``edge``.

        So it does after key_by, and further through steps that hand on the items as they are
        (filter, route).
        """
        seen: set[int] = set()
        while edge.source in self.nodes and edge.source not in seen and edge.port != DEAD_LETTER:
            seen.add(edge.source)
            node = self.nodes[edge.source]
            if node.kind == "keyby":
                return True
            if node.kind not in ("filter", "route") or not node.inputs:
                return False
            edge = node.inputs[0]
        return False
