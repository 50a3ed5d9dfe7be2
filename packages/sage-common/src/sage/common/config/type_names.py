"""Types in words, for messages and tables: ``an int``, ``a list of str``.

Successor: ``sage.common.config.hooks``.
"""

from __future__ import annotations

import collections.abc
import enum
import typing
from types import NoneType, UnionType
from typing import Any

_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_SEQUENCES = (list, collections.abc.Sequence, collections.abc.MutableSequence)


def is_union(kind: Any) -> bool:
    """Whether ``kind`` is ``A | B`` or ``Union[A, B]``."""
    return typing.get_origin(kind) in (typing.Union, UnionType)


def type_name(kind: Any) -> str:
    """A type as it is written in code: ``int | None``, ``list[str]``, ``'a' | 'b'``."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is NoneType or kind is None:
        return "None"
    if kind is Ellipsis:
        return "..."
    if origin is typing.Annotated:
        return type_name(args[0])
    if is_union(kind):
        return " | ".join(type_name(arg) for arg in args)
    if origin is typing.Literal:
        return " | ".join(repr(getattr(arg, "value", arg)) for arg in args)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " | ".join(repr(member.value) for member in kind)
    name = getattr(origin or kind, "__name__", None) or str(kind)
    if args and origin is not collections.abc.Callable:
        return f"{name}[{', '.join(type_name(arg) for arg in args)}]"
    return name


def expected_name(kind: Any) -> str:
    """A type after "must be": ``an int``, ``a list of str``, ``a mapping``, ``None``."""
    origin, args = typing.get_origin(kind) or kind, typing.get_args(kind)
    if kind is NoneType or kind is None:
        return "empty"
    if is_union(kind):
        return _alternatives([expected_name(arg) for arg in args])
    if origin is typing.Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return f"one of {type_name(kind).replace(' | ', ', ')}"
    if origin in _SEQUENCES:
        return f"a list of {type_name(args[0])}" if args and args[0] is not Any else "a list"
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"a list of {len(args)} values ({', '.join(map(type_name, args))})"
    if origin in (tuple, set, frozenset, collections.abc.Set):
        return f"a list of {type_name(args[0])}" if args and args[0] is not Any else "a list"
    if origin in _MAPPINGS:
        plain = not args or args == (Any, Any)
        return (
            "a mapping" if plain else f"a mapping of {type_name(args[0])} to {type_name(args[1])}"
        )
    name = type_name(kind)
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _alternatives(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
