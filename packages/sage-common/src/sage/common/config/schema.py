"""What a configuration class accepts, as data: for ``sage operators show``, forms and editors.

Help and unit of a field come from ``attrs.field(metadata={"help": ..., "unit": ...})``; without
``help``, from the ``Attributes:`` section of the class docstring. Without ``unit``, a number has
the unit that its help names first: ``Most tokens of a reply`` is counted in tokens.

Predecessor: ``sage.common.config.structure``.
"""

from __future__ import annotations

import collections.abc
import datetime as dt
import enum
import inspect
import re
import typing
from pathlib import Path
from types import NoneType
from typing import Any

import attrs

from sage.common.config.type_names import is_union, type_name
from sage.common.secrets import MASK, Secret

_ENTRY = re.compile(
    r"(?P<indent>\s*)(?P<names>\w+(?:\s*,\s*\w+)*)\s*(?:\([^)]*\))?:\s*(?P<text>.*)"
)
_SECTIONS = ("Attributes:", "Args:")
_UNIT = re.compile(
    r"\b(seconds?|tokens?|characters|words?|bytes|attempts|passages|items"
    r"|records|documents|questions|memories|sentences|paragraphs|pairs|nodes|edges|columns"
    r"|megabytes|calls|rows)\b",
    re.IGNORECASE,
)
_SHARE = re.compile(r"``\[(-?[01]), 1\]``|\b(0) to 1\b|\b1 [^.;]{0,30}to 0\b")


@attrs.frozen(kw_only=True)
class FieldSchema:
    """One key of a configuration.

    Attributes:
        name: The key.
        type: The type as it is written in code.
        required: Whether there is no default.
        default: The default as plain data; ``None`` also when there is none (see ``required``).
        help: What the key means.
        unit: Unit of the value (``seconds``, ``tokens``), or ``""``.
        choices: The only values allowed, or ``()``.
        fields: The keys of a nested configuration.
    """

    name: str
    type: str
    required: bool
    default: Any = None
    help: str = ""
    unit: str = ""
    choices: tuple[Any, ...] = ()
    fields: tuple[FieldSchema, ...] = ()


def config_schema(cls: Any) -> tuple[FieldSchema, ...]:
    """The keys that ``structure_config(raw, cls)`` knows, in the order of declaration."""
    return _fields(cls, ())


def _fields(cls: Any, above: tuple[Any, ...]) -> tuple[FieldSchema, ...]:
    types = typing.get_type_hints(cls)
    documented = _documented(cls)
    out = []
    for field in attrs.fields(cls):
        if not field.init:
            continue
        kind = types.get(field.name, Any)
        nested = _config_class(kind)
        inner = _fields(nested, (*above, cls)) if nested and nested not in (*above, cls) else ()
        text = field.metadata.get("help") or documented.get(field.name, "")
        out.append(
            FieldSchema(
                name=field.alias or field.name,
                type=type_name(kind),
                required=field.default is attrs.NOTHING,
                default=_default(field),
                help=text,
                unit=field.metadata.get("unit") or _unit(kind, text),
                choices=_choices(kind),
                fields=inner,
            )
        )
    return tuple(out)


def _unit(kind: Any, text: str) -> str:
    """The unit that the first words of a number's help name, or ``""``."""
    money = re.match(r"USD per million tokens", text)
    if money:
        return money[0]  # also of a mapping: the unit of its values
    members = set(typing.get_args(kind)) if is_union(kind) else {kind}
    if not members & {int, float}:
        return ""
    if float in members:
        shares = _SHARE.finditer(text.partition(". ")[0])
        lows = {"-1" if share[1] == "-1" else "0" for share in shares}
        if lows:
            return f"{lows.pop()} to 1" if len(lows) == 1 else ""
    first = re.split(r"[.;:,](?:\s|$)", text, maxsplit=1)[0]
    named = _UNIT.search(" ".join(first.split()[:7]))
    return named[0].lower() if named else ""


def json_schema(cls: Any) -> dict[str, Any]:
    """The JSON Schema (2020-12) of ``cls``; units stand under ``x-unit``."""
    definitions: dict[str, Any] = {}
    schema = _object(cls, definitions)
    top: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    if definitions:
        top["$defs"] = definitions
    return top


def _object(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    types = typing.get_type_hints(cls)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for schema, field in zip(
        config_schema(cls), (f for f in attrs.fields(cls) if f.init), strict=True
    ):
        entry = _type_schema(types.get(field.name, Any), definitions)
        if schema.help:
            entry["description"] = schema.help
        if schema.unit:
            entry["x-unit"] = schema.unit
        if schema.required:
            required.append(schema.name)
        elif schema.default != MASK:
            entry["default"] = schema.default
        properties[schema.name] = entry
    out: dict[str, Any] = {
        "title": cls.__name__,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    summary = first_line(cls)
    if summary:
        out["description"] = summary
    if required:
        out["required"] = required
    return out


_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    Path: {"type": "string", "format": "path"},
    Secret: {"type": "string", "format": "password", "writeOnly": True},
    dt.date: {"type": "string", "format": "date"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.time: {"type": "string", "format": "time"},
}


def _type_schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SIMPLE:
        return dict(_SIMPLE[kind])
    if origin is typing.Annotated:
        return _type_schema(args[0], definitions)
    if is_union(kind):
        return {"anyOf": [_type_schema(arg, definitions) for arg in args]}
    choices = _choices(kind)
    if choices:
        return {"enum": list(choices)}
    base = origin or kind
    if base is tuple and args and args[-1] is not Ellipsis:
        items = [_type_schema(arg, definitions) for arg in args]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    if base in (list, tuple, set, frozenset) or base in (
        collections.abc.Sequence,
        collections.abc.Set,
    ):
        return {"type": "array", "items": _type_schema(args[0], definitions) if args else {}}
    if base in (dict, collections.abc.Mapping, collections.abc.MutableMapping):
        values = _type_schema(args[1], definitions) if args else {}
        return {"type": "object", "additionalProperties": values}
    if attrs.has(base):
        if base.__name__ not in definitions:
            definitions[base.__name__] = {}  # stands in while the class refers to itself
            definitions[base.__name__] = _object(base, definitions)
        return {"$ref": f"#/$defs/{base.__name__}"}
    return {}


def _choices(kind: Any) -> tuple[Any, ...]:
    if is_union(kind):
        members = [m for m in typing.get_args(kind) if m is not NoneType]
        return _choices(members[0]) if len(members) == 1 else ()
    if typing.get_origin(kind) is typing.Literal:
        return tuple(getattr(option, "value", option) for option in typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return tuple(member.value for member in kind)
    return ()


def _config_class(kind: Any) -> Any:
    """The attrs class inside ``Sub``, ``Sub | None``, ``list[Sub]`` or ``dict[str, Sub]``."""
    if isinstance(kind, type) and attrs.has(kind):
        return kind
    found = [c for c in map(_config_class, typing.get_args(kind)) if c is not None]
    return found[0] if len(found) == 1 else None


def _default(field: Any) -> Any:
    default = field.default
    if default is attrs.NOTHING:
        return None
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        if default.takes_self:
            return None
        default = default.factory()
    return plain(default)


def plain(value: Any) -> Any:
    """A value as JSON-ready data; secrets masked, unknown objects as their text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Secret):
        return value.reference or MASK
    if attrs.has(type(value)):
        return {f.alias: plain(getattr(value, f.name)) for f in attrs.fields(type(value)) if f.init}
    if isinstance(value, collections.abc.Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    return repr(value)


def first_line(thing: Any) -> str:
    """The first line of a docstring; the text attrs generates does not count."""
    doc = inspect.getdoc(thing) or ""
    if doc.startswith("Method generated by attrs"):
        return ""
    return doc.partition("\n")[0]


def _documented(cls: Any) -> dict[str, str]:
    """Help by field from the ``Attributes:`` (or ``Args:``) sections, base classes first."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found.update(_sections(inspect.cleandoc(base.__doc__ or "")))
    return found


def _sections(doc: str) -> dict[str, str]:
    found: dict[str, str] = {}
    names: list[str] = []
    indent: int | None = None
    inside = False
    for line in doc.splitlines():
        if line and not line[0].isspace():
            inside, names, indent = line.strip() in _SECTIONS, [], None
        elif inside and line.strip():
            entry = _ENTRY.fullmatch(line)
            depth = len(line) - len(line.lstrip())
            if entry and (indent is None or depth == indent):
                indent = depth
                names = [name.strip() for name in entry["names"].split(",")]
                found.update(dict.fromkeys(names, entry["text"].strip()))
            else:
                found.update({name: f"{found[name]} {line.strip()}".strip() for name in names})
    return found
