"""What types a function takes and gives, read from its annotations; and their way through a graph.

Nothing is called and nothing fails: what cannot be read is unknown. Explicit is stronger than
read: the step option ``type``, then annotations of the method, then arguments of the generic base.

Predecessor: ``sage.kernel.graph.model``; successors: ``types`` and ``validate``.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar, Union, get_args, get_origin

from sage.api import functions as contracts
from sage.api.functions import BaseFunction
from sage.kernel.graph.loops import unwrapped
from sage.kernel.graph.model import DEAD_LETTER, Edge, FunctionSpec, Node, StreamGraph
from sage.kernel.graph.steps import METHODS
from sage.kernel.graph.types import (
    Unknown,
    base_arguments,
    is_any,
    join_types,
    stripped,
    substitute,
)

_SAMPLE = 10_000
"""Collections up to this length have their items' types read; longer ones are unknown."""

_CONTRACTS: dict[str, tuple[type, int, int | None]] = {
    # kind of the class: generic base, how many inputs, index of the output argument
    "source": (contracts.SourceFunction, 0, 0),
    "map": (contracts.MapFunction, 1, 1),
    "flatmap": (contracts.FlatMapFunction, 1, 1),
    "filter": (contracts.FilterFunction, 1, None),
    "keyby": (contracts.KeyByFunction, 1, None),
    "sink": (contracts.SinkFunction, 1, None),
    "process": (contracts.ProcessFunction, 1, 1),
    "comap": (contracts.CoMapFunction, 2, 2),
    "join": (contracts.JoinFunction, 2, 2),
}
_ITERATED = ("flatmap", "process")
_AWAITED = (typing.Awaitable, typing.Coroutine)


class Signature:
    """Types of one function.

    Attributes:
        inputs: In order.
        output: Of the result; of one element of it, where a step gives many.
    """

    __slots__ = ("inputs", "output")

    def __init__(self, inputs: tuple[Any, ...], output: Any) -> None:
        self.inputs = inputs
        self.output = output


def signature(spec: FunctionSpec, kind: str, method: str | None = None) -> Signature:
    """Types of a function used in a step of ``kind``."""
    spec = unwrapped(spec)
    target = spec.target
    is_object = not callable(target) or isinstance(target, BaseFunction)
    if spec.is_class or is_object:
        cls = target if spec.is_class else type(target)
        result = _of_class(cls, kind, method)
        accepts = getattr(target, "accepts", ())
        if accepts and result.inputs and not is_any(result.inputs[0]):
            widened: Any = Union.__getitem__((result.inputs[0], *accepts))
            result.inputs = (widened, *result.inputs[1:])
        return result
    if isinstance(target, type):  # a constructor used as a function
        return Signature((), target)
    inputs, output = _annotations(target)
    return Signature(inputs, _element(output) if kind in (*_ITERATED, "source") else output)


def _of_class(cls: type, kind: str, method: str | None) -> Signature:
    names = (method,) if method else METHODS.get(kind, ("execute", "__call__"))
    own_kind = getattr(cls, "kind", kind)
    base, arity, out_index = _CONTRACTS.get(own_kind, (None, 0, None))
    args = base_arguments(cls, base) if base is not None and issubclass(cls, base) else ()
    bound = dict(zip(getattr(base, "__parameters__", ()), args, strict=False))
    function, owner = next(
        (
            (owner.__dict__[name], owner)
            for name in names
            for owner in cls.__mro__
            if name in owner.__dict__ and owner.__module__ != contracts.__name__
        ),
        (None, cls),
    )
    if owner is not cls:
        parameters = getattr(owner, "__parameters__", ())
        bound.update(zip(parameters, base_arguments(cls, owner), strict=False))
    inputs: tuple[Any, ...] = ()
    output: Any = Unknown
    if function is not None:
        inputs, output = _annotations(function, skip_self=True)
        inputs = tuple(substitute(each, bound) for each in inputs)
        output = substitute(output, bound)
        if kind in _ITERATED or (kind == "source" and function.__name__ == "run"):
            output = _element(output)
    if arity and args:
        wanted = args[:arity] if method is None else (args[0 if method == "map1" else 1],)
        inputs = tuple(
            wanted[i] if i >= len(inputs) or is_any(inputs[i]) else inputs[i]
            for i in range(len(wanted))
        )
    if is_any(output) and args and out_index is not None and len(args) > out_index:
        output = args[out_index]
        if kind in _ITERATED and own_kind == "map":
            output = _element(output)
    if kind == "source":
        output = _without_stop(output)
    return Signature(inputs, output)


def _annotations(function: Any, skip_self: bool = False) -> tuple[tuple[Any, ...], Any]:
    """Types of the positional parameters, and of the result (awaited)."""
    skip = 1 if skip_self else 0
    while isinstance(function, functools.partial):
        skip += len(function.args)
        function = function.func
    if isinstance(function, (staticmethod, classmethod)):
        skip = 0 if isinstance(function, staticmethod) else 1
        function = function.__func__
    if isinstance(function, types.MethodType):
        skip += 1
        function = function.__func__
    if not hasattr(function, "__code__") and hasattr(type(function), "__call__"):  # noqa: B004
        call = type(function).__call__
        if not hasattr(call, "__code__"):
            return (), Unknown
        function, skip = call, 1
    code = getattr(function, "__code__", None)
    raw = getattr(function, "__annotations__", None) or {}
    if code is None or not raw:
        return (), Unknown
    names = code.co_varnames[skip : code.co_argcount]
    inputs = tuple(_evaluate(raw.get(name), function) for name in names)
    output = _evaluate(raw["return"], function) if "return" in raw else Unknown
    if get_origin(output) in (_origin(each) for each in _AWAITED):
        output = (get_args(output) or (Unknown,))[-1]
    if get_origin(output) in (Union, types.UnionType):
        kept = [x for x in get_args(output) if get_origin(x) not in map(_origin, _AWAITED)]
        output = join_types(kept)
    if "return" in raw and raw["return"] in (None, "None"):
        output = type(None)
    return inputs, output


def _origin(special: Any) -> Any:
    return get_origin(special) or special


def _evaluate(annotation: Any, function: Any) -> Any:
    # One at a time, so that one name that cannot be resolved does not hide the others.
    if annotation is None or not isinstance(annotation, str):
        return annotation
    holder = types.SimpleNamespace(__annotations__={"x": annotation})
    local = {}
    code, cells = function.__code__, function.__closure__ or ()
    for name, cell in zip(code.co_freevars, cells, strict=False):
        try:
            local[name] = cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue
    try:
        hints = typing.get_type_hints(
            holder, function.__globals__, local or None, include_extras=True
        )
    except Exception:  # noqa: BLE001 - an annotation is any expression, so it may raise anything
        return Unknown
    return hints["x"]


def _element(kind: Any) -> Any:
    """Type of the elements of an iterable type."""
    kind = stripped(kind)
    if is_any(kind):
        return Unknown
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        parts = [each for each in get_args(kind) if each is not type(None)]
        return join_types([_element(each) for each in parts])
    args = get_args(kind)
    if origin is tuple:
        return join_types([each for each in args if each is not ...])
    if args:
        return args[0]
    if kind is str or kind is bytes:
        return str if kind is str else int
    if isinstance(kind, type) and kind is not type(None):
        found = base_arguments(kind, typing.cast("type", _origin(Iterable)))
        return found[0] if found else Unknown
    return Unknown


def _without_stop(kind: Any) -> Any:
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    kept = [each for each in get_args(kind) if each not in (contracts.StopSignal, type(None))]
    return join_types(kept)


def collection_type(items: Any) -> Any:
    """Type of the items of a list, tuple, set or range; unknown for anything else."""
    if isinstance(items, range):
        return int
    if not isinstance(items, (list, tuple, set, frozenset)) or not 0 < len(items) <= _SAMPLE:
        return Unknown
    return join_types(sorted(set(map(type, items)), key=lambda kind: kind.__qualname__))


def infer(graph: StreamGraph) -> dict[int, tuple[list[Any], Any]]:
    """Wanted type of each input and given type of each node; sets ``in_type`` and ``out_type``."""
    signatures = {node.id: _signatures(node) for node in graph.nodes.values()}
    given: dict[int, Any] = {}
    pending: set[int] = set()

    def output(node_id: int) -> Any:
        if node_id in given:
            return given[node_id]
        node = graph.nodes.get(node_id)
        if node is None or node_id in pending:
            return Unknown
        pending.add(node_id)
        given[node_id] = _output(node, signatures[node_id], edge_type)
        pending.discard(node_id)
        return given[node_id]

    def edge_type(edge: Edge) -> Any:
        return dict if edge.port == DEAD_LETTER else output(edge.source)

    result: dict[int, tuple[list[Any], Any]] = {}
    # Declaration order is nearly topological, so the recursion stays shallow.
    for node in graph.nodes.values():
        wanted = _wanted(node, signatures[node.id])
        node.out_type = output(node.id)
        node.in_type = wanted[0] if wanted else Unknown
        result[node.id] = (wanted, node.out_type)
    return result


def _signatures(node: Node) -> list[Signature]:
    if node.kind == "comap" and len(node.specs) == 1:
        return [signature(node.specs[0], "comap", m) for m in ("map1", "map2")]
    return [signature(spec, node.kind) for spec in node.specs]


def _wanted(node: Node, signatures: list[Signature]) -> list[Any]:
    if node.params.get("loop") and _is_plumbing(node):
        return [Unknown]
    first = [each.inputs[0] if each.inputs else Unknown for each in signatures]
    if node.kind == "comap":
        return [*first, Unknown, Unknown][:2]
    if node.kind == "join":
        return [*(signatures[0].inputs if signatures else ()), Unknown, Unknown][:2]
    if node.kind == "reduce":
        inputs = signatures[0].inputs if signatures else ()
        return [inputs[1] if len(inputs) > 1 else Unknown]
    return first[:1]


def _output(node: Node, signatures: list[Signature], edge_type: Any) -> Any:
    if node.options.type is not None:
        return node.options.type
    inputs = [edge_type(edge) for edge in node.inputs]
    only = inputs[0] if inputs else Unknown
    if node.params.get("loop") and node.kind == "map" and _is_plumbing(node):
        return only
    match node.kind:
        case "source":
            target = node.specs[0].target if node.specs else None
            found = signatures[0].output if signatures else Unknown
            return found if not is_any(found) else collection_type(target)
        case "filter" | "keyby" | "route":
            return only
        case "union":
            return join_types(inputs)
        case "future":
            return Unknown
        case "batch":
            return list if is_any(only) else list[only]  # type: ignore[valid-type]
        case "window" if not signatures:
            return list if is_any(only) else list[only]  # type: ignore[valid-type]
        case "join" if node.specs and node.specs[0].label == "pair":
            if any(map(is_any, inputs)) or node.params.get("how") != "inner":
                return tuple
            return tuple[tuple(inputs)]  # type: ignore[misc]
        case "sink":
            return Unknown
    return join_types([_generic(each, inputs, node.kind) for each in signatures])


def _generic(each: Signature, inputs: list[Any], kind: str) -> Any:
    """The output with type variables bound by the inputs they stand for."""
    actual: list[Any] = inputs
    if kind == "window" and inputs and inputs[0]:
        actual = [types.GenericAlias(list, (inputs[0],))]
    pairs = zip(each.inputs, actual, strict=False)
    bound = {wanted: got for wanted, got in pairs if isinstance(wanted, TypeVar)}
    output = substitute(each.output, bound)
    return Unknown if _has_variable(output) else output


def _has_variable(kind: Any) -> bool:
    return isinstance(kind, TypeVar) or any(map(_has_variable, get_args(kind)))


def _is_plumbing(node: Node) -> bool:
    """Whether the step is the loop's own and not an adapter of a step of the body."""
    target = node.specs[0].target if node.specs else None
    if isinstance(target, type):
        return False
    function = target if hasattr(target, "__code__") else type(target)
    return getattr(function, "__module__", "") == "sage.kernel.graph.loops"
