"""Answers as typed values: the JSON schema of an attrs class, and the value in a reply.

Predecessor: ``sage.common.config``; successor: ``sage.lib.rag.generator.remote``.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from sage.common.config import structure_config
from sage.common.errors import ConfigError
from sage.middleware.models.chat import object_in

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type.

    Args:
        kind: An attrs class whose fields are texts, numbers, booleans, ``None``, ``Literal``,
            lists, tuples and mappings of these, unions, or further attrs classes.

    Raises:
        ConfigError: A field has another type.
    """
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if kind is Any:
        return {}
    if isinstance(kind, type) and attrs.has(kind):
        hints = typing.get_type_hints(kind)
        fields = attrs.fields(kind)
        return {
            "type": "object",
            "properties": {field.name: schema_of(hints[field.name]) for field in fields},
            "required": [field.name for field in fields if field.default is attrs.NOTHING],
            "additionalProperties": False,
        }
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(each) for each in inner]}
    if origin is list or (origin is tuple and len(inner) == 2 and inner[1] is ...):
        return {"type": "array", "items": schema_of(inner[0])}
    if isinstance(origin, type) and issubclass(origin, Mapping) and inner[0] is str:
        return {"type": "object", "additionalProperties": schema_of(inner[1])}
    raise ConfigError(
        f"output: no JSON schema for the type {kind!r}; expected texts, numbers, booleans, None, "
        "Literal, list[...], tuple[..., ...], dict[str, ...], unions of these, or an attrs class"
    )


def read_output(text: str, kind: type) -> Any:
    """The value of class ``kind`` in a reply; what stands around the JSON is ignored.

    Raises:
        ConfigError: There is no JSON, or it does not fit the class; says what is wrong.
    """
    try:
        raw = object_in(text)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return structure_config(raw, kind, name=kind.__name__)
