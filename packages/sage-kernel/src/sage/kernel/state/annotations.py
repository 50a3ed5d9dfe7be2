"""What an annotation says about whether its values can be state, before there is a value.

Only what is certain counts: ``Any``, protocols, abstract classes, and classes with a subclass that
the codec knows are left to the value.
"""

from __future__ import annotations

import collections.abc
import inspect
import io
import types
import typing
from typing import Any, Final

from sage.kernel.graph.types import is_any, members, show
from sage.kernel.state._records import is_record, refusal
from sage.kernel.state._writers import PLAIN_TYPES

_NEVER: Final = frozenset(
    {
        collections.abc.AsyncGenerator,
        collections.abc.AsyncIterator,
        collections.abc.Awaitable,
        collections.abc.Callable,
        collections.abc.Coroutine,
        collections.abc.Generator,
        collections.abc.Iterator,
        type,
    }
)
"""Abstract classes none of whose instances the codec knows."""


def check_annotation(tp: Any) -> str | None:
    """Why values of a type cannot be state, as a sentence; ``None`` where they can or may.

    Args:
        tp: An annotation such as ``dict[str, threading.Lock]`` or an attrs class.
    """
    return _check(tp, set())


def _check(tp: Any, seen: set[Any]) -> str | None:
    if is_any(tp):
        return None
    kinds = members(tp)
    if len(kinds) > 1:
        return next(filter(None, (_check(kind, seen) for kind in kinds)), None)
    (kind,) = kinds
    origin = typing.get_origin(kind)
    if kind is None or origin is typing.Literal or is_any(kind):
        return None
    cls = origin or kind
    if isinstance(cls, types.BuiltinFunctionType):
        return f"{cls.__module__}.{cls.__name__} is a function, not a type that state can have"
    if not isinstance(cls, type) or typing.is_typeddict(cls):
        return None
    if cls in _NEVER:
        return f"{show(kind)} cannot be state: it holds code, not data"
    if cls in PLAIN_TYPES:
        arguments = [each for each in typing.get_args(kind) if each is not ...]
        return next(filter(None, (_check(each, seen) for each in arguments)), None)
    return _check_class(cls, seen)


def _check_class(cls: type, seen: set[Any]) -> str | None:
    if cls in seen or not _decidable(cls):
        return None
    seen.add(cls)
    reason = refusal(cls)
    if reason is not None:
        return f"{cls.__module__}.{cls.__qualname__} {reason}"
    if not is_record(cls):
        return None
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, TypeError, AttributeError):
        return None
    for name, hint in hints.items():
        if typing.get_origin(hint) is typing.ClassVar:
            continue
        problem = _check(hint, seen)
        if problem is not None:
            return f"{cls.__qualname__}.{name}: {problem}"
    return None


def _decidable(cls: type) -> bool:
    """Whether the codec's word on the class holds for all its instances."""
    if issubclass(cls, (io.IOBase, typing.IO)):
        return True
    if cls.__module__ == "numpy" or inspect.isabstract(cls) or getattr(cls, "_is_protocol", False):
        return False
    if cls.__module__ in ("collections.abc", "numbers", "os"):
        return False
    known = any(sub in PLAIN_TYPES or refusal(sub) is None for sub in _subclasses(cls))
    return not known or refusal(cls) is None


def _subclasses(cls: type) -> set[type]:
    found: set[type] = set()
    waiting = [cls]
    while waiting:
        below: set[type] = set(type.__subclasses__(waiting.pop())) - found
        found |= below
        waiting.extend(below)
    return found
