"""The code version of a step: a hash that changes when what the step does may have changed.

It covers the byte code, constants, names, defaults and closure values of a function; for a class
or an object all methods of its class and base classes (up to the contracts of ``sage.api``) and the
version of SAGE for those that come with it; and ``version``, where a class has that attribute.
Helper functions that are only called by name are not followed: set ``version`` to say that they
changed. Line numbers, comments and docstrings do not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import blake2b
from types import CodeType
from typing import Any

SIZE = 8
"""Bytes of a code version."""

_CONTRACTS = ("sage.api.", "builtins", "abc", "typing")


def version_of(*targets: Any) -> str:
    """Hexadecimal code version of the functions, classes or objects of a step."""
    digest = blake2b(digest_size=SIZE)
    for target in targets:
        _add(digest, target, 0)
    return digest.hexdigest()


def functions_of(target: Any) -> Iterator[Any]:
    """The function itself, or the methods of a class or object that are not the contract's."""
    while hasattr(target, "func") and hasattr(target, "keywords"):  # functools.partial
        target = target.func
    function = getattr(target, "__func__", target)
    if isinstance(getattr(function, "__code__", None), CodeType):
        yield function
        return
    for base in (target if isinstance(target, type) else type(target)).__mro__:
        if not base.__module__.startswith(_CONTRACTS):
            yield from _methods(base)


def _add(digest: Any, target: Any, depth: int) -> None:
    digest.update(b"|")
    wrapped = getattr(target, "func", None)
    if wrapped is not None and hasattr(target, "keywords"):  # functools.partial
        _add(digest, wrapped, depth)
        for value in (*target.args, *sorted(target.keywords.items())):
            _add_value(digest, value, depth)
        return
    function = getattr(target, "__func__", target)
    if isinstance(getattr(function, "__code__", None), CodeType):
        _add_function(digest, function, depth)
        return
    _add_class(digest, target if isinstance(target, type) else type(target), depth)


def _add_function(digest: Any, function: Any, depth: int) -> None:
    digest.update(str(getattr(function, "__qualname__", "")).encode())
    _add_code(digest, function.__code__)
    for value in function.__defaults__ or ():
        _add_value(digest, value, depth)
    for name, value in sorted((function.__kwdefaults__ or {}).items()):
        _add_value(digest, (name, value), depth)
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        _add_value(digest, value, depth)


def _add_code(digest: Any, code: CodeType) -> None:
    digest.update(code.co_code)
    digest.update("\0".join(code.co_names).encode())
    doc = code.co_consts[0] if code.co_consts and isinstance(code.co_consts[0], str) else None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(digest, constant)
        elif constant is not doc:
            digest.update(_text(constant))


def _add_class(digest: Any, cls: type, depth: int) -> None:
    for base in cls.__mro__:
        module = base.__module__
        if module.startswith(_CONTRACTS):
            continue
        digest.update(base.__qualname__.encode())  # not the module: a script may be __main__
        if module.startswith("sage."):
            digest.update(_release().encode())
        for function in _methods(base):
            _add_function(digest, function, depth)
    digest.update(_text(getattr(cls, "version", None)))


def _methods(cls: type) -> Iterator[Any]:
    for _, value in sorted(vars(cls).items()):
        accessors = (value.fget, value.fset) if isinstance(value, property) else (value,)
        for accessor in accessors:
            function = getattr(accessor, "__func__", accessor)
            if isinstance(getattr(function, "__code__", None), CodeType):
                yield function


def _add_value(digest: Any, value: Any, depth: int) -> None:
    """A constant a function was made with; objects count by their class."""
    if isinstance(value, (str, bytes, int, float, bool, complex, frozenset)) or value is None:
        digest.update(_text(value))
    elif depth >= 4:
        digest.update(type(value).__qualname__.encode())
    elif isinstance(value, Mapping):
        for key, each in value.items():
            _add_value(digest, key, depth + 1)
            _add_value(digest, each, depth + 1)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _add_value(digest, each, depth + 1)
    else:
        _add(digest, value, depth + 1)


def _text(value: Any) -> bytes:
    if isinstance(value, (set, frozenset)):
        value = sorted(map(repr, value))
    elif isinstance(value, tuple):
        value = [_text(each) for each in value]
    return repr(value).encode()


@cache
def _release() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - 10 ms, only with a ledger

    return version("isage-kernel")
