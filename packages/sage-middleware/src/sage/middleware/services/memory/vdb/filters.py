"""The declarative filter language ``where`` of collections.

A filter is a mapping. ``{"year": 2020}`` is short for ``{"year": {"$eq": 2020}}``; several keys in
one mapping must all hold. Operators of a field: ``$eq $ne $gt $gte $lt $lte $in $nin $contains
$exists`` and ``$not`` around them; of filters: ``$and``, ``$or`` (lists) and ``$not``.

What they mean:

- A row without the field matches only ``$ne``, ``$nin``, ``{"$exists": False}`` and ``$not`` of
  what it does not match. A field that is ``None`` exists and equals ``None``.
- Numbers compare with numbers and strings with strings; ``$gt`` and its kin never match across
  kinds. ``True`` equals ``True`` and not ``1``.
- ``$contains`` looks for a substring in a string, or for an element in a list.
- ``$eq`` compares whole values, lists and mappings too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import orjson

from sage.middleware.services.memory.errors import FilterError

Where = Mapping[str, Any]
BoolArray = npt.NDArray[np.bool_]

_MISSING = object()
_ORDERED = {"$gt", "$gte", "$lt", "$lte"}
OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$contains", "$exists")
# Each is the opposite of the other, so that only the positive one needs a definition.
_OPPOSITE = {"$ne": "$eq", "$nin": "$in"}


@attrs.frozen
class Test:
    """One field against one operand; ``operator`` is never ``$ne`` or ``$nin``."""

    __test__ = False  # not a pytest class

    field: str
    operator: str
    operand: Any


@attrs.frozen
class Not:
    """The opposite of a filter."""

    part: Node


@attrs.frozen
class All:
    """Every part holds."""

    parts: tuple[Node, ...]


@attrs.frozen
class Either:
    """At least one part holds."""

    parts: tuple[Node, ...]


Node = Test | Not | All | Either


def kind_of(value: Any) -> str:
    """``n`` number, ``b`` boolean, ``s`` string, ``0`` None, ``o`` list or mapping."""
    if isinstance(value, bool):
        return "b"
    if isinstance(value, int | float):
        return "n"
    if isinstance(value, str):
        return "s"
    return "0" if value is None else "o"


def identity(value: Any) -> tuple[str, Any]:
    """A hashable that two values share exactly if ``$eq`` says they are equal."""
    kind = kind_of(value)
    if kind == "o":
        return kind, orjson.dumps(_sorted(value), option=orjson.OPT_SORT_KEYS)
    return kind, value


def _sorted(value: Any) -> Any:
    # 1 and 1.0 are equal numbers but different JSON: write whole floats as integers.
    if isinstance(value, Mapping):
        return {k: _sorted(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_sorted(v) for v in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def parse(where: Where) -> Node:
    """The filter as a tree.

    Raises:
        FilterError: An unknown operator, an operand of the wrong type, or not a mapping.
    """
    if not isinstance(where, Mapping):
        raise _error(where, f"a filter is a mapping, got {type(where).__name__}")
    parts: list[Node] = []
    for key, value in where.items():
        if not isinstance(key, str):
            raise _error(where, f"field names are strings, got {key!r}")
        if key in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                raise _error(where, f"{key} takes a list of at least one filter, got {value!r}")
            several = tuple(parse(v) for v in value)
            parts.append(All(several) if key == "$and" else Either(several))
        elif key == "$not":
            parts.append(Not(parse(value)))
        elif key.startswith("$"):
            raise _error(where, f"unknown operator {key!r}; filters combine by $and, $or and $not")
        else:
            parts.append(_parse_field(where, key, value))
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _parse_field(where: Where, field: str, value: Any) -> Node:
    if not isinstance(value, Mapping) or not any(str(k).startswith("$") for k in value):
        return _test(where, field, "$eq", value)
    parts: list[Node] = []
    for operator, operand in value.items():
        if operator == "$not":
            inner = operand if isinstance(operand, Mapping) else {"$eq": operand}
            parts.append(Not(_parse_field(where, field, inner)))
        elif operator in _OPPOSITE:
            parts.append(Not(_test(where, field, _OPPOSITE[operator], operand)))
        elif operator in OPERATORS:
            parts.append(_test(where, field, operator, operand))
        else:
            raise _error(
                where,
                f"unknown operator {operator!r} for field {field!r}; known are "
                f"{', '.join(OPERATORS)} and $not",
            )
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _test(where: Where, field: str, operator: str, operand: Any) -> Test:
    if operator in _ORDERED and kind_of(operand) not in "ns":
        raise _error(where, f"{operator} of {field!r} takes a number or a string, got {operand!r}")
    if operator == "$exists" and not isinstance(operand, bool):
        raise _error(where, f"$exists of {field!r} takes True or False, got {operand!r}")
    if operator == "$in":
        if isinstance(operand, str | bytes | Mapping) or not isinstance(operand, Iterable):
            raise _error(where, f"$in and $nin of {field!r} take a list, got {operand!r}")
        operand = tuple(operand)
    try:
        orjson.dumps(operand)
    except TypeError as exc:
        raise _error(where, f"the operand of {field!r} is not JSON: {operand!r}") from exc
    return Test(field, operator, operand)


def _error(where: Any, message: str) -> FilterError:
    return FilterError(f"filter {where!r}: {message}", where=where)


def value_test(test: Test) -> Callable[[Any], bool]:
    """The test as a function of a value that is there."""
    operand = test.operand
    kind = kind_of(operand)
    match test.operator:
        case "$exists":
            return lambda value: bool(operand)
        case "$eq":
            same = identity(operand)
            return lambda value: identity(value) == same
        case "$in":
            several = frozenset(map(identity, operand))
            return lambda value: identity(value) in several
        case "$contains":
            same = identity(operand)
            return lambda value: (
                any(identity(v) == same for v in value)
                if isinstance(value, list | tuple)
                else isinstance(value, str) and isinstance(operand, str) and operand in value
            )
        case "$gt":
            return lambda value: kind_of(value) == kind and value > operand
        case "$gte":
            return lambda value: kind_of(value) == kind and value >= operand
        case "$lt":
            return lambda value: kind_of(value) == kind and value < operand
        case _:
            return lambda value: kind_of(value) == kind and value <= operand


def matches(node: Node, metadata: Mapping[str, Any]) -> bool:
    """Whether one row's metadata passes; the slow definition of what ``evaluate`` does."""
    match node:
        case All(parts):
            return all(matches(p, metadata) for p in parts)
        case Either(parts):
            return any(matches(p, metadata) for p in parts)
        case Not(part):
            return not matches(part, metadata)
    value = metadata.get(node.field, _MISSING)
    if value is _MISSING:
        return node.operator == "$exists" and node.operand is False
    return value_test(node)(value)


def evaluate(node: Node, leaf: Callable[[Test], BoolArray], count: int) -> BoolArray:
    """The filter over ``count`` rows at once; ``leaf`` answers single tests."""
    match node:
        case All(parts):
            found = np.ones(count, np.bool_)
            for part in parts:
                found &= evaluate(part, leaf, count)
            return found
        case Either(parts):
            found = np.zeros(count, np.bool_)
            for part in parts:
                found |= evaluate(part, leaf, count)
            return found
        case Not(part):
            return ~evaluate(part, leaf, count)
    return leaf(node)


def fields_of(node: Node) -> set[str]:
    """The fields a filter looks at."""
    match node:
        case All(parts) | Either(parts):
            return set().union(*map(fields_of, parts)) if parts else set()
        case Not(part):
            return fields_of(part)
    return {node.field}


def canonical(where: Where) -> bytes:
    """Bytes that equal filters share; for caches and for what is persisted."""
    try:
        return orjson.dumps(where, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        try:
            return orjson.dumps(_plain(where), option=orjson.OPT_SORT_KEYS)
        except TypeError as exc:
            raise _error(where, "it holds values that are not JSON") from exc


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, set | frozenset | tuple | range):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
