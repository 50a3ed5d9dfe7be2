"""What the compiler must know about a user's function, found without calling it.

Reads code flags instead of importing ``inspect`` (20 ms at start-up).
"""

from __future__ import annotations

from typing import Any

from sage.kernel.graph.model import FunctionSpec, Node

CO_COROUTINE = 0x80
CO_ASYNC_GENERATOR = 0x200

METHOD_OF_KIND = {"comap": "map1", "source": "run"}


def code_of(function: Any) -> Any:
    """The code object behind a function, method, partial or callable object, or ``None``."""
    seen = 0
    while function is not None and seen < 8:
        seen += 1
        code = getattr(function, "__code__", None)
        if code is not None:
            return code
        inner = getattr(function, "__func__", None) or getattr(function, "func", None)
        if inner is None and not isinstance(function, type):
            inner = getattr(type(function), "__call__", None)  # noqa: B004 - the function
            if type(inner).__name__ in ("wrapper_descriptor", "method-wrapper"):
                return None
        function = inner
    return None


def method_of(spec: FunctionSpec, kind: str) -> Any:
    """The unbound or bound callable that handles an item of a step of this kind."""
    target = spec.target
    named = METHOD_OF_KIND.get(kind, "execute")
    if kind == "process":
        named = "process"
    method = getattr(target, named, None)
    if method is None:
        method = getattr(target, "execute", None)
    if method is None and spec.is_class:
        method = getattr(target, "__call__", None)  # noqa: B004 - the function
    return method if method is not None else target


def is_async(spec: FunctionSpec, kind: str) -> bool:
    """Whether the item method is ``async def`` (or an async generator)."""
    code = code_of(method_of(spec, kind))
    if code is not None and code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR):
        return True
    batch = batch_method_of(spec)
    return batch is not None and bool(
        (code_of(batch) or _NO_CODE).co_flags & CO_COROUTINE and method_is_default(spec)
    )


def is_async_generator(spec: FunctionSpec, kind: str) -> bool:
    """Whether the item method is an async generator."""
    code = code_of(method_of(spec, kind))
    return code is not None and bool(code.co_flags & CO_ASYNC_GENERATOR)


def batch_method_of(spec: FunctionSpec) -> Any:
    """``execute_batch`` of the step, or ``None``."""
    return getattr(spec.target, "execute_batch", None)


def method_is_default(spec: FunctionSpec) -> bool:
    """Whether ``execute`` is missing or is the contract's own (which only raises)."""
    execute = getattr(spec.target, "execute", None)
    return execute is None or getattr(execute, "__module__", "") == "sage.api.functions"


def is_step_object(spec: FunctionSpec) -> bool:
    """Whether the step is a class or instance with a life cycle, not a plain callable."""
    return spec.is_class or hasattr(spec.target, "execute") or hasattr(spec.target, "open")


def has_effect(node: Node) -> bool:
    """Whether calling the step has effects or costs outside the job."""
    if node.options.effect is not None:
        return node.options.effect
    return any(bool(getattr(spec.target, "effect", False)) for spec in node.specs)


class _NoCode:
    co_flags = 0


_NO_CODE = _NoCode()
