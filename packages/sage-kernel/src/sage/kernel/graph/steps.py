"""From what a user gives as a step (class, instance, callable, name) to a ``FunctionSpec``.

Predecessor: the fluent API and spec files; successor: ``sage.kernel.graph.builder``.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from sage.api.functions import BaseFunction, SourceFunction, StopSignal
from sage.common.errors import GraphError
from sage.kernel.graph.model import FunctionSpec

_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200  # CO_* flags of a code object

ACCEPTED_KINDS: dict[str, tuple[str, ...]] = {
    "source": ("source",),
    "map": ("map",),
    "flatmap": ("flatmap", "map"),
    "filter": ("filter", "map"),
    "keyby": ("keyby", "map"),
    "reduce": ("map", "join"),
    "comap": ("comap",),
    "join": ("join", "map"),
    "route": ("map",),
    "window": ("map",),
    "process": ("process",),
    "fallback": ("map",),
    "sink": ("sink", "map"),
}
"""Contract kinds (``BaseFunction.kind``) that a step of each kind takes."""

METHODS: dict[str, tuple[str, ...]] = {
    "source": ("run", "execute"),
    "process": ("process",),
    "comap": ("map1", "map2"),
}
"""Item methods of a class by step kind; all other kinds use ``execute`` (or ``__call__``)."""

_SHOWN = {"keyby": "key_by"}


def code_flags(function: Any) -> int:
    """Flags of the code behind a callable, through partials, methods and ``__call__``."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None and not isinstance(function, type):
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004
    return int(code.co_flags) if code is not None else 0


def is_coroutine_function(function: Any) -> bool:
    """Whether calling ``function`` gives a coroutine."""
    return bool(code_flags(function) & _COROUTINE)


def defines(cls: type, name: str) -> bool:
    """Whether instances of ``cls`` have a method ``name`` that a user wrote, not the contract."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__module__ != "sage.api.functions" or base is object
    return False


def make_spec(
    step: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], kind: str
) -> FunctionSpec:
    """The ``FunctionSpec`` of a step.

    Args:
        step: Class, instance of a contract, callable, registered name, or for a source an
            iterable.
        args, kwargs: What is left for the constructor of a class.
        kind: Kind of the node it is for.

    Raises:
        GraphError: It cannot be such a step.
        PluginError: No operator of that name is registered.
    """
    if isinstance(step, FunctionSpec):
        return step
    if isinstance(step, str):
        cls = find_registered(step) if kind != "keyby" else _find_key_function(step)
        spec = make_spec(cls, args, kwargs, kind)
        spec.registered = step
        return spec
    if isinstance(step, type):
        return _class_spec(step, args, kwargs, kind)
    if isinstance(step, BaseFunction):
        _refuse_arguments(step, args, kwargs, kind, "an instance is configured already")
        _check_contract(type(step), kind)
        return FunctionSpec(step)
    if kind == "source":
        return _source_spec(step, args, kwargs)
    if kind in METHODS:
        raise GraphError(
            f".{kind}(...) takes a {_contract(kind)} class or instance, got {_describe(step)}"
        )
    if callable(step):
        flags = code_flags(step)
        if kind != "flatmap" and flags & (_GENERATOR | _ASYNC_GENERATOR):
            raise GraphError(
                f".{_SHOWN.get(kind, kind)}({_describe(step)}): a generator function gives many "
                "results per item; use .flatmap(...) for it"
            )
        _refuse_arguments(step, args, kwargs, kind, "a plain callable takes only step options")
        return FunctionSpec(step)
    method = next((m for m in ("execute", "__call__") if hasattr(step, m)), None)
    if method:
        return FunctionSpec(step)
    raise GraphError(
        f".{_SHOWN.get(kind, kind)}(...) takes a class, an instance of one, a callable or the "
        f"registered name of an operator, got {_describe(step)}"
    )


def find_registered(name: str) -> type:
    """The operator class registered under ``name`` by an entry point; imports it.

    Raises:
        PluginError: Nothing is registered under that name, or it is broken.
    """
    from sage.common.plugins import find_operator  # noqa: PLC0415 - reads distribution metadata

    found: type = find_operator(name)
    return found


def _find_key_function(name: str) -> type:
    from sage.common.errors import PluginError  # noqa: PLC0415 - only for key_by("name")

    try:
        return find_registered(name)
    except PluginError as exc:
        raise GraphError(
            f".key_by({name!r}): no operator of that name is registered; for a field of the item "
            f"use .key_by(lambda item: item[{name!r}])"
        ) from exc


def _class_spec(
    cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any], kind: str
) -> FunctionSpec:
    if issubclass(cls, BaseFunction):
        _check_contract(cls, kind)
        return FunctionSpec(cls, args, kwargs)
    methods = METHODS.get(kind, ("execute", "__call__"))
    if kind == "comap":
        usable = all(defines(cls, m) for m in methods)
    else:
        usable = any(defines(cls, m) for m in methods)
    if usable:
        return FunctionSpec(cls, args, kwargs)
    if kind == "source" and defines(cls, "__iter__"):
        return FunctionSpec(IterableSource, (cls, args, dict(kwargs)), registered=None)
    if kind not in METHODS and not args and not defines(cls, "open"):
        _refuse_arguments(cls, args, kwargs, kind, "a constructor takes only the item")
    if kind in METHODS or args or defines(cls, "open"):
        wanted = " and ".join(methods) if kind == "comap" else " or ".join(methods)
        raise GraphError(
            f"class {cls.__name__!r} cannot be a .{_SHOWN.get(kind, kind)}(...) step: "
            f"it has no method {wanted}"
        )
    spec = FunctionSpec(cls)  # a constructor used as a function: .map(str), .map(Decimal)
    spec.is_class = False
    return spec


def _check_contract(cls: type[BaseFunction], kind: str) -> None:
    shown = _SHOWN.get(kind, kind)
    accepted = ACCEPTED_KINDS[kind]
    if cls.kind not in accepted:
        method = {"source": "env.from_source", "comap": "connect(...).comap"}.get(
            cls.kind, f".{_SHOWN.get(cls.kind, cls.kind)}"
        )
        raise GraphError(
            f"{cls.__name__!r} is a {_contract(cls.kind)}, so it cannot be given to "
            f".{shown}(...); use {method}(...) for it, or give .{shown}(...) a "
            f"{_contract(accepted[0])} or a callable",
            step=cls.__name__,
        )
    methods = METHODS.get(cls.kind, ("execute", "execute_batch", "__call__"))
    if cls.kind == "comap":
        missing = [m for m in methods if not defines(cls, m)]
    else:
        missing = [] if any(defines(cls, m) for m in methods) else [methods[0]]
    if missing:
        raise GraphError(
            f"class {cls.__name__!r} derives from {_contract(cls.kind)} but does not define "
            f"{' and '.join(missing)}(...)",
            step=cls.__name__,
        )


def _source_spec(step: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> FunctionSpec:
    if callable(step) and not hasattr(type(step), "__iter__"):
        function = functools.partial(step, *args, **kwargs) if args or kwargs else step
        flags = code_flags(step)
        if flags & _GENERATOR:
            return FunctionSpec(function)
        if flags & (_ASYNC_GENERATOR | _COROUTINE):
            return FunctionSpec(AsyncSource, (function,))
        return FunctionSpec(CallableSource, (function,))
    if isinstance(step, Iterable):
        _refuse_arguments(step, args, kwargs, "source", "an iterable takes only step options")
        return FunctionSpec(step)
    if hasattr(step, "run") or hasattr(step, "execute"):
        return FunctionSpec(step)
    raise GraphError(
        "from_source(...) takes an iterable, a generator function, a SourceFunction class or "
        f"instance, a callable or a registered name, got {_describe(step)}"
    )


class CallableSource(SourceFunction[Any]):
    """Source around a plain callable.

    An iterable it returns is the stream. Any other value is one item, and it is called again until
    it returns ``StopSignal``; ``None`` is skipped.
    """

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def run(self) -> Iterator[Any]:
        first = self.function()
        if isinstance(first, Iterable) and not isinstance(first, (str, bytes, Mapping)):
            yield from first
            return
        item = first
        while not (isinstance(item, StopSignal) or item is StopSignal):
            if item is not None:
                yield item
            if self.ctx.stopping:
                return
            item = self.function()


class AsyncSource(SourceFunction[Any]):
    """Source around an async generator function, or an ``async def`` that returns an iterable."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def run(self) -> Any:
        """An async iterator: the runtime awaits it on the event loop that the async steps use."""
        return self._items()

    async def _items(self) -> AsyncIterator[Any]:
        made = self.function()
        if not hasattr(made, "__anext__"):
            for item in await made:
                yield item
            return
        try:
            async for item in made:
                yield item
        finally:
            await made.aclose()


class IterableSource(SourceFunction[Any]):
    """Source around a class whose instances are iterable; one instance per subtask."""

    def __init__(self, cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.cls, self.args, self.kwargs = cls, args, kwargs

    def run(self) -> Iterator[Any]:
        yield from self.cls(*self.args, **self.kwargs)


def _refuse_arguments(
    step: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], kind: str, why: str
) -> None:
    shown = _SHOWN.get(kind, kind)
    if args:
        raise GraphError(
            f".{shown}({_describe(step)}, ...): unexpected argument {args[0]!r}: {why}"
        )
    if kwargs:
        from sage.kernel.graph.model import STEP_OPTIONS  # noqa: PLC0415
        from sage.kernel.graph.options import suggest  # noqa: PLC0415

        key = next(iter(kwargs))
        raise GraphError(
            f".{shown}({_describe(step)}, ...): unknown option {key!r}{suggest(key, STEP_OPTIONS)}"
            f" ({why})",
            option=key,
        )


def _contract(kind: str) -> str:
    names = {
        "flatmap": "FlatMapFunction",
        "keyby": "KeyByFunction",
        "comap": "CoMapFunction",
    }
    return names.get(kind, f"{kind.capitalize()}Function")


def _describe(step: Any) -> str:
    name = getattr(step, "__name__", None)
    if name:
        return "a lambda" if name == "<lambda>" else str(name)
    text = repr(step)
    return text if len(text) <= 60 else text[:57] + "..."


def pair(left: Any, right: Any) -> tuple[Any, Any]:
    """Result of a join without a function."""
    return (left, right)
