"""Which types may follow which: ``is_assignable`` and how types are written in messages.

Deliberately forgiving where Python says nothing (no annotation, ``Any``, ``object``, an unresolved
name): a false alarm costs more than a mismatch found at run time.

Predecessor: ``sage.kernel.graph.inference``; successor: ``sage.kernel.graph.validate``.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, Union, get_args, get_origin

Unknown = None
"""The type of a step that says nothing about it."""

_UNIONS = (Union, types.UnionType)
_TOWER = {float: (int,), complex: (int, float), bytes: (bytearray, memoryview)}
_PROTOCOL_NOISE = frozenset(
    [
        "__abstractmethods__",
        "__annotations__",
        "__class_getitem__",
        "__dict__",
        "__doc__",
        "__hash__",
        "__init__",
        "__module__",
        "__new__",
        "__non_callable_proto_members__",
        "__orig_bases__",
        "__parameters__",
        "__protocol_attrs__",
        "__qualname__",
        "__slots__",
        "__subclasshook__",
        "__weakref__",
        "__match_args__",
        "_abc_impl",
        "_is_protocol",
        "_is_runtime_protocol",
        "__firstlineno__",
        "__static_attributes__",
    ]
)


def is_any(kind: Any) -> bool:
    """Whether nothing is known about the type."""
    return kind is Unknown or kind is Any or kind is object or isinstance(kind, (str, _Forward))


_Forward = typing.ForwardRef


def members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union; of any other type, itself."""
    kind = stripped(kind)
    if get_origin(kind) in _UNIONS:
        return tuple(each for part in get_args(kind) for each in members(part))
    return (kind,)


def stripped(kind: Any) -> Any:
    """Without ``Annotated``, ``Final``, ``ClassVar``, ``NewType`` and type variables."""
    while True:
        origin = get_origin(kind)
        if origin in (Annotated, Final, ClassVar, typing.Required, typing.NotRequired):
            kind = get_args(kind)[0]
        elif isinstance(kind, TypeVar):
            if kind.__constraints__:
                return Union[kind.__constraints__]  # noqa: UP007 - made from a tuple
            kind = kind.__bound__ if kind.__bound__ is not None else Any
        elif hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        else:
            return kind


def join_types(kinds: list[Any]) -> Any:
    """The union of the types; unknown when one of them is."""
    if not kinds or any(is_any(kind) for kind in kinds):
        return Unknown
    unique: list[Any] = []
    for kind in kinds:
        if kind not in unique:
            unique.append(kind)
    return unique[0] if len(unique) == 1 else Union[tuple(unique)]  # noqa: UP007


def is_assignable(given: Any, wanted: Any) -> bool:
    """Whether an item of type ``given`` can be given to a step that takes ``wanted``.

    Every alternative of a union that is given must fit one of those wanted. Type arguments are
    compared covariantly: items are immutable by contract, so ``list[bool]`` fits ``list[int]``.
    """
    if is_any(given) or is_any(wanted):
        return True
    if given is wanted:
        return True
    if isinstance(wanted, typing.NewType) and isinstance(given, typing.NewType):
        return given is wanted or is_assignable(stripped(given), wanted)
    return all(any(_fits(each, target) for target in members(wanted)) for each in members(given))


def _fits(given: Any, wanted: Any) -> bool:
    if is_any(given) or is_any(wanted) or given is wanted:
        return True
    if given is type(None) or wanted is type(None):
        return given is wanted or (given is type(None) and _is_protocol(wanted))
    given_origin, wanted_origin = get_origin(given), get_origin(wanted)
    if given_origin is Literal:
        if wanted_origin is Literal:
            return set(get_args(given)) <= set(get_args(wanted))
        return all(_fits(type(value), wanted) for value in get_args(given))
    if wanted_origin is Literal:
        return any(_fits(given, type(value)) for value in get_args(wanted))
    given_class = given_origin or given
    wanted_class = wanted_origin or wanted
    if not isinstance(given_class, type) or not isinstance(wanted_class, type):
        return True  # a special form that says nothing to compare
    if typing.is_typeddict(given_class):
        return wanted_class is given_class or (
            not typing.is_typeddict(wanted_class) and issubclass(dict, _plain(wanted_class))
        )
    if typing.is_typeddict(wanted_class):
        return issubclass(given_class, dict)
    if wanted_class.__name__ == "Callable" and wanted_class.__module__ == "collections.abc":
        return given_class is type or hasattr(given_class, "__call__")  # noqa: B004
    if _is_protocol(wanted_class):
        return _implements(given_class, wanted_class)
    if given_class not in _TOWER.get(wanted_class, ()) and not _subclass(given_class, wanted_class):
        return False
    return _arguments_fit(given, given_class, wanted, wanted_class)


def _plain(cls: type) -> type:
    return cls if not typing.is_typeddict(cls) else dict


def _subclass(cls: type, other: type) -> bool:
    try:
        return issubclass(cls, other)
    except TypeError:
        return True


def _is_protocol(kind: Any) -> bool:
    return bool(getattr(kind, "_is_protocol", False))


def _implements(cls: type, protocol: type) -> bool:
    if protocol in cls.__mro__:
        return True
    wanted: set[str] = set()
    for base in protocol.__mro__:
        if _is_protocol(base) and base is not typing.Protocol:
            wanted.update(base.__dict__)
            wanted.update(base.__dict__.get("__annotations__", {}))  # noqa: RUF063 - inspect is slow
    have: set[str] = set()
    for base in cls.__mro__:
        have.update(base.__dict__)
        have.update(base.__dict__.get("__annotations__", {}))  # noqa: RUF063 - inspect is slow
    if "__getattr__" in have:
        return True
    return all(name in have for name in wanted - _PROTOCOL_NOISE)


def _arguments_fit(given: Any, given_class: type, wanted: Any, wanted_class: type) -> bool:
    wanted_args = get_args(wanted)
    if not wanted_args:
        return True
    given_args = get_args(given) or base_arguments(given_class, wanted_class)
    if not given_args:
        return True
    if wanted_class is tuple:
        return _tuples_fit(given_args, wanted_args)
    if given_class is tuple:
        items = given_args[:1] if given_args[-1:] == (...,) else given_args
        return all(is_assignable(item, wanted_args[0]) for item in items)
    if len(given_args) != len(wanted_args):
        # A mapping given as an iterable gives its keys; of other shapes nothing is known.
        mapping = issubclass(given_class, collections.abc.Mapping) and len(wanted_args) == 1
        return is_assignable(given_args[0], wanted_args[0]) if mapping else True
    return all(map(is_assignable, given_args, wanted_args))


def _tuples_fit(given: tuple[Any, ...], wanted: tuple[Any, ...]) -> bool:
    if wanted[-1:] == (...,):
        return all(is_assignable(each, wanted[0]) for each in given if each is not ...)
    if given[-1:] == (...,):
        return all(is_assignable(given[0], each) for each in wanted)
    return len(given) == len(wanted) and all(map(is_assignable, given, wanted))


def base_arguments(cls: type, base: type) -> tuple[Any, ...]:
    """Arguments that ``cls`` gives to its generic base; empty when it gives none.

    For a class derived from ``MapFunction[str, int]`` they are ``(str, int)``.
    """
    found = _bindings(cls, base, {})
    return found or ()


def _bindings(cls: type, base: type, known: dict[Any, Any]) -> tuple[Any, ...] | None:
    for parent in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin = get_origin(parent) or parent
        if not isinstance(origin, type) or not _subclass(origin, base):
            continue
        args = tuple(substitute(arg, known) for arg in get_args(parent))
        if origin is base:
            return args or None
        parameters = getattr(origin, "__parameters__", ())
        found = _bindings(origin, base, dict(zip(parameters, args, strict=False)))
        if found is None and args and origin.__module__ == "builtins":
            found = args  # list[str] as Iterable: built-in classes do not name their parameters
        if found:
            return found
    return None


def substitute(kind: Any, known: dict[Any, Any]) -> Any:
    """``kind`` with type variables replaced by what is known of them."""
    if isinstance(kind, TypeVar):
        return known.get(kind, kind)
    args = get_args(kind)
    if not args or not known or get_origin(kind) is Literal:
        return kind
    new = tuple(substitute(arg, known) for arg in args)
    if new == args:
        return kind
    if get_origin(kind) in _UNIONS:
        return Union[new]  # noqa: UP007 - made from a tuple
    try:
        return kind.copy_with(new) if hasattr(kind, "copy_with") else get_origin(kind)[new]
    except (TypeError, AttributeError):
        return Unknown


def show(kind: Any) -> str:
    """How a type is written in messages: short, without module names."""
    if kind is Unknown:
        return "unknown"
    if kind is ...:
        return "..."
    if kind is type(None):
        return "None"
    origin, args = get_origin(kind), get_args(kind)
    if origin in _UNIONS:
        return " | ".join(show(each) for each in args)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if args and origin is not None:
        name = getattr(kind, "_name", None) or getattr(origin, "__name__", str(origin))
        return f"{name}[{', '.join(show(each) for each in args)}]"
    return getattr(kind, "__qualname__", None) or getattr(kind, "__name__", None) or str(kind)
