"""Filters and metadata between our language and chromadb's.

chromadb keeps strings, numbers and booleans by field. Those are stored as they are, so that
filters run inside chromadb; the whole metadata, of any JSON type, travels beside them in one field.
What chromadb cannot filter exactly is decided here, on the rows its part of the filter lets pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from sage.middleware.services.memory.vdb import filters
from sage.middleware.services.memory.vdb.filters import All, Either, Node, Not, Test

JSON_FIELD = "_sage_json"
TIME_FIELD = "_sage_time"
MEMBER_PREFIX = "_sage_in_"
_INT64 = 2**63
_PUSHED = {"$eq", "$gt", "$gte", "$lt", "$lte"}
Clause = dict[str, Any]


def to_chroma(json: str, metadata: Mapping[str, Any], time: float) -> dict[str, Any]:
    """Metadata as chromadb stores it."""
    native = {k: v for k, v in metadata.items() if _is_field(k) and _is_native(v)}
    return {**native, JSON_FIELD: json, TIME_FIELD: time}


def from_chroma(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """Metadata as it was given; that of rows others wrote is taken as it is."""
    if not stored:
        return {}
    if JSON_FIELD in stored:
        plain: dict[str, Any] = orjson.loads(stored[JSON_FIELD])
        return plain
    return {k: v for k, v in stored.items() if not k.startswith("_sage_")}


def _is_field(name: str) -> bool:
    return bool(name) and not name.startswith(("$", "_sage_", "chroma:"))


def _is_native(value: Any) -> bool:
    if isinstance(value, bool | str):
        return True
    if isinstance(value, int):
        return -_INT64 <= value < _INT64
    return isinstance(value, float)


def split(node: Node) -> tuple[Clause | None, Node | None]:
    """What chromadb filters, and what is left to decide on the rows that pass it.

    Either may be ``None``: nothing to filter there.
    """
    if isinstance(node, All):
        clauses, rest = [], []
        for part in node.parts:
            clause, left = split(part)
            if clause is not None:
                clauses.append(clause)
            if left is not None:
                rest.append(left)
        return conjunction(clauses), All(tuple(rest)) if rest else None
    clause = _clause(node)
    return (clause, None) if clause is not None else (None, node)


def conjunction(clauses: list[Clause]) -> Clause | None:
    """All of the clauses."""
    if len(clauses) > 1:
        return {"$and": clauses}
    return clauses[0] if clauses else None


def _clause(node: Node) -> Clause | None:
    """The node in chromadb's language, if that says exactly the same."""
    match node:
        case All(parts):
            found = [_clause(p) for p in parts]
            return None if not found or None in found else conjunction([c for c in found if c])
        case Either(parts):
            found = [_clause(p) for p in parts]
            if None in found:
                return None
            return found[0] if len(found) == 1 else {"$or": found}
        case Not(Test(field, "$eq", operand)) if _is_field(field) and _is_native(operand):
            return {field: {"$ne": operand}}
        case Not(Test(field, "$in", operand)):
            return _groups(field, "$nin", operand)
        case Test(field, "$in", operand):
            return _groups(field, "$in", operand)
        case Test(field, operator, operand) if operator in _PUSHED and _is_field(field):
            if not _is_native(operand):
                return None
            if operator != "$eq" and filters.kind_of(operand) != "n":
                return None
            return {field: {operator: operand}}
    return None


def _groups(field: str, operator: str, operand: tuple[Any, ...]) -> Clause | None:
    """A list by the types chromadb wants apart."""
    if not operand or not _is_field(field) or not all(map(_is_native, operand)):
        return None
    by_type: dict[type, list[Any]] = {}
    for value in operand:
        by_type.setdefault(type(value), []).append(value)
    clauses: list[Clause] = [{field: {operator: values}} for values in by_type.values()]
    if len(clauses) == 1:
        return clauses[0]
    return {"$or" if operator == "$in" else "$and": clauses}
