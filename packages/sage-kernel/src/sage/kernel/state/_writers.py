"""How values of each type are written in the plain form, beside lists, dicts and scalars.

Each writer is called with the walk, a value and the depth, and gives ``[mark, *parts]``.
Predecessor: ``_encoding``; ``_decoding`` has the readers.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import functools
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable
from enum import EnumMeta
from typing import TYPE_CHECKING, Any, Final

from sage.kernel.state import _tags as tag
from sage.kernel.state._records import UNSET_FIELD, can_be_combined, is_struct, refusal
from sage.kernel.state._refused import Refused

if TYPE_CHECKING:
    from sage.kernel.state._encoding import Walk

_MARKS: Final = tag.MARKS

FACTORIES: Final[dict[str, Any]] = {
    factory.__name__: factory
    for factory in (
        bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple,
        collections.Counter, collections.OrderedDict, collections.deque,
    )
}  # fmt: skip
"""Factories that a ``defaultdict`` may have."""

PATHS: Final = {
    cls.__name__: cls
    for cls in (
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        pathlib.PosixPath,
        pathlib.WindowsPath,
    )
}

Writer = Callable[["Walk", Any, int], Any]


@functools.lru_cache(maxsize=1024)
def writer_of(kind: type) -> Writer:
    """How to write values of a type that is not in ``WRITERS``.

    Raises:
        Refused: They cannot be written.
    """
    if kind.__module__ == "numpy":
        from sage.kernel.state import _arrays  # noqa: PLC0415 - numpy, only for who uses it

        if _arrays.is_array_type(kind):
            return _write_array
    reason = refusal(kind)
    if reason is not None:
        raise Refused(kind, reason)
    return _write_enum if isinstance(kind, EnumMeta) else _write_record


def _write_array(walk: Walk, value: Any, depth: int) -> Any:
    from sage.kernel.state import _arrays  # noqa: PLC0415 - numpy, only for who uses it

    if not _arrays.has_plain_dtype(value):
        raise Refused(type(value), f"has the dtype {value.dtype}, which is not stored as bytes")
    return _arrays.write(walk, value, depth)


def _write_record(walk: Walk, value: Any, depth: int) -> Any:
    record, head = walk.record(type(value))
    fields = record.read(value)
    if walk.native(fields):
        out = [*head, *fields]
    else:
        out = head.copy()
        for name, field in zip(record.fields, fields, strict=True):
            out.append(_write_field(walk, value, name, field, depth))
    if record.open:
        extras = record.extras(value)
        if extras:
            out.append({k: _write_field(walk, value, k, v, depth) for k, v in extras.items()})
    return out


def _write_field(walk: Walk, instance: Any, name: str, value: Any, depth: int) -> Any:
    if value is UNSET_FIELD:
        if is_struct(type(instance)):
            raise Refused(type(instance), f"has no value in its field {name!r}")
        return _MARKS[tag.UNSET]
    try:
        return walk.plain(value, depth)
    except Refused as refused:
        raise refused.inside(instance, f".{name}") from None


def _write_enum(walk: Walk, value: Any, depth: int) -> Any:
    cls = type(value)
    if cls.__members__.get(value.name) is value:
        return [_MARKS[tag.ENUM], walk.enum(cls), value.name]
    if not can_be_combined(cls):
        raise Refused(cls, "is not a member of its enum")
    return [_MARKS[tag.FLAGS], walk.enum(cls), walk.plain(value.value, depth)]


def _write_datetime(walk: Walk, value: dt.datetime, depth: int) -> Any:
    text = value.replace(tzinfo=None).isoformat()
    return _moment(walk, tag.DATETIME, text, value, depth)


def _write_time(walk: Walk, value: dt.time, depth: int) -> Any:
    return _moment(walk, tag.TIME, value.replace(tzinfo=None).isoformat(), value, depth)


def _moment(walk: Walk, code: int, text: str, value: Any, depth: int) -> Any:
    if value.tzinfo is None and not value.fold:
        return [_MARKS[code], text]
    try:
        return [_MARKS[code], text, value.fold, walk.plain(value.tzinfo, depth)]
    except Refused as refused:
        raise refused.inside(value, ".tzinfo") from None


def _write_timezone(walk: Walk, value: Any, depth: int) -> Any:
    return walk.items([_MARKS[tag.TIMEZONE]], value, value.__getinitargs__(), depth)


def _write_zone(walk: Walk, value: zoneinfo.ZoneInfo, depth: int) -> Any:
    if value.key is None:
        raise Refused(type(value), "was read from a file and has no key by which to find it again")
    return [_MARKS[tag.ZONE], value.key]


def _write_default_dict(walk: Walk, value: Any, depth: int) -> Any:
    factory = value.default_factory
    name = getattr(factory, "__name__", None)
    if factory is not None and FACTORIES.get(str(name)) is not factory:
        raise Refused(
            type(value),
            f"has the default factory {factory!r}, which is not found again; use a builtin type "
            "such as int or list, or a plain dict with setdefault",
        )
    return walk.pairs([_MARKS[tag.DEFAULT_DICT], name], value, depth)


def _write_deque(walk: Walk, value: Any, depth: int) -> Any:
    return walk.items([_MARKS[tag.DEQUE], value.maxlen], value, value, depth)


def _write_path(walk: Walk, value: Any, depth: int) -> Any:
    return [_MARKS[tag.PATH], type(value).__name__, walk.plain(str(value), depth)]


def _write_tuple(walk: Walk, value: Any, depth: int) -> Any:
    if walk.native(value):
        return [_MARKS[tag.TUPLE], *value]
    return walk.items([_MARKS[tag.TUPLE]], value, value, depth)


def _write_set(code: int) -> Writer:
    return lambda walk, value, depth: walk.items([_MARKS[code]], value, walk.sorted(value), depth)


def _write_pairs(code: int) -> Writer:
    return lambda walk, value, depth: walk.pairs([_MARKS[code]], value, depth)


def _write_parts(code: int, *names: str) -> Writer:
    return lambda walk, value, depth: walk.items(
        [_MARKS[code]], value, (getattr(value, name) for name in names), depth
    )


WRITERS: Final[dict[type, Writer]] = {
    list: lambda walk, value, depth: walk.list(value, depth),
    dict: lambda walk, value, depth: walk.dict(value, depth),
    tuple: _write_tuple,
    set: _write_set(tag.SET),
    frozenset: _write_set(tag.FROZENSET),
    bytearray: lambda walk, value, depth: [_MARKS[tag.BYTEARRAY], bytes(value)],
    complex: lambda walk, value, depth: [_MARKS[tag.COMPLEX], value.real, value.imag],
    range: _write_parts(tag.RANGE, "start", "stop", "step"),
    slice: _write_parts(tag.SLICE, "start", "stop", "step"),
    dt.datetime: _write_datetime,
    dt.date: lambda walk, value, depth: [_MARKS[tag.DATE], value.isoformat()],
    dt.time: _write_time,
    dt.timedelta: _write_parts(tag.TIMEDELTA, "days", "seconds", "microseconds"),
    dt.timezone: _write_timezone,
    zoneinfo.ZoneInfo: _write_zone,
    decimal.Decimal: lambda walk, value, depth: [_MARKS[tag.DECIMAL], str(value)],
    uuid.UUID: lambda walk, value, depth: [_MARKS[tag.UUID_], value.bytes],
    collections.OrderedDict: _write_pairs(tag.ORDERED_DICT),
    collections.Counter: _write_pairs(tag.COUNTER),
    collections.defaultdict: _write_default_dict,
    collections.deque: _write_deque,
    **dict.fromkeys(PATHS.values(), _write_path),
}

PLAIN_TYPES: Final = frozenset(WRITERS) | tag.SCALARS
"""Types the codec knows by themselves, beside numpy's."""
