"""Values to the plain form that ``_tags`` describes.

Containers that hold nothing but what msgpack keeps exactly are recognised level by level with
set operations, at a few ns per element, and are given to msgpack as they are.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import functools
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from enum import EnumMeta, Flag
from itertools import chain
from typing import Any, Final

import msgspec

from sage.kernel.state import _tags as tag
from sage.kernel.state._records import (
    UNSET_FIELD,
    class_name,
    is_struct,
    record_of,
    refusal,
)

_MARKS: Final = tag.MARKS
_SCALARS: Final = tag.SCALARS
_to_msgpack = msgspec.msgpack.Encoder().encode

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


class Refused(Exception):
    """A value that cannot be encoded; gathers the path to it on its way up."""

    def __init__(self, found: Any, reason: str) -> None:
        self.type = class_name(type(found))
        self.reason = reason
        self.steps: list[str] = []
        self.containers: list[int] = []

    def inside(self, container: Any, step: str) -> Refused:
        """The same, seen from the container."""
        if id(container) in self.containers:
            # A value that contains itself is noticed by its depth: name one turn of the circle.
            turn = self.containers.index(id(container))
            self.reason = "contains itself, and state must be a tree"
            self.steps = self.steps[turn + 1 :]
            self.containers = self.containers[turn + 1 :]
        self.steps.append(step)
        self.containers.append(id(container))
        return self

    @property
    def path(self) -> str:
        """From the value down, such as ``value[3].lock``."""
        path = "value" + "".join(reversed(self.steps))
        return path if len(path) <= 300 else f"{path[:140]} ... {path[-140:]}"


def is_native(value: Any) -> bool:
    """Whether a value is a tree of lists, dicts and scalars of exactly these types.

    Integers beyond 64 bits and lone surrogates are left to msgpack, which refuses them.
    """
    level = [value]
    containers = 0
    seen: set[int] = set()
    for _ in range(tag.MAX_DEPTH):
        kinds = set(map(type, level)) - _SCALARS
        if not kinds:
            return True
        if not kinds <= {list, dict}:
            return False
        lists = [each for each in level if type(each) is list]
        dicts = [each for each in level if type(each) is dict]
        if not _SCALARS.issuperset(map(type, chain.from_iterable(dicts))):
            return False
        containers += len(lists) + len(dicts)
        seen.update(map(id, lists), map(id, dicts))
        if len(seen) != containers:
            return False  # shared or cyclic: visiting it again and again might never end
        level = list(chain.from_iterable(lists))
        level.extend(chain.from_iterable(map(dict.values, dicts)))
    return False


def document(value: Any) -> bytes:
    """The bytes of a value.

    Raises:
        Refused: Something in it cannot be encoded.
    """
    try:
        if is_native(value):
            return _to_msgpack((tag.FORMAT, (), value))
        walk = Walk()
        plain = walk.plain(value, 0)
        return _to_msgpack((tag.FORMAT, walk.classes, plain))
    except (OverflowError, UnicodeEncodeError):
        walk = Walk(check_scalars=True)
        plain = walk.plain(value, 0)
        return _to_msgpack((tag.FORMAT, walk.classes, plain))


class Walk:
    """One value on its way to the plain form.

    Args:
        check_scalars: Look at each int and str; needed once msgpack has refused one.
    """

    def __init__(self, *, check_scalars: bool = False) -> None:
        self.classes: list[list[Any]] = []
        self._check = check_scalars
        self._index: dict[type, int] = {}

    def plain(self, value: Any, depth: int) -> Any:
        """The plain form of any value."""
        kind: Any = type(value)
        if kind in _SCALARS:
            return self._scalar(value) if self._check else value
        if depth >= tag.MAX_DEPTH:
            raise Refused(value, f"is nested deeper than {tag.MAX_DEPTH} levels")
        writer = _WRITERS.get(kind) or _writer(kind)
        return writer(self, value, depth + 1)

    def native(self, values: Iterable[Any]) -> bool:
        """Whether these can stay as they are."""
        return not self._check and _SCALARS.issuperset(map(type, values))

    def items(self, out: list[Any], container: Any, values: Iterable[Any], depth: int) -> list[Any]:
        """``out`` with the plain form of the values added."""
        start = len(out)
        try:
            for value in values:
                out.append(self.plain(value, depth))  # noqa: PERF401 - how far it got is the path
        except Refused as refused:
            raise refused.inside(container, f"[{len(out) - start}]") from None
        return out

    def pairs(self, out: list[Any], mapping: Any, depth: int) -> list[Any]:
        """``out`` with keys and values in turn added."""
        for key, value in mapping.items():
            try:
                out.append(self.plain(key, depth))
            except Refused as refused:
                raise refused.inside(mapping, f".keys()[{_short(key)}]") from None
            try:
                out.append(self.plain(value, depth))
            except Refused as refused:
                raise refused.inside(mapping, f"[{_short(key)}]") from None
        return out

    def class_index(self, cls: type, fields: tuple[str, ...] | None) -> int:
        """The place of a class in the table."""
        index = self._index.get(cls)
        if index is None:
            index = self._index[cls] = len(self.classes)
            name = class_name(cls)
            self.classes.append([name] if fields is None else [name, list(fields)])
        return index

    def list(self, value: Any, depth: int) -> Any:
        if self.native(value):
            return value
        return self.items([], value, value, depth)

    def dict(self, value: Any, depth: int) -> Any:
        if not self._native_keys(value):
            return self.pairs([_MARKS[tag.DICT]], value, depth)
        if self.native(value.values()):
            return value
        out = {}
        for key, each in value.items():
            try:
                out[key] = self.plain(each, depth)
            except Refused as refused:
                raise refused.inside(value, f"[{_short(key)}]") from None
        return out

    def sorted(self, value: Any, depth: int) -> Iterable[Any]:
        """The elements of a set in an order that depends on their bytes only."""
        if len(set(map(type, value))) <= 1 and type(next(iter(value), None)) in (str, int, bytes):
            return sorted(value)
        try:
            return sorted(value, key=document)
        except Refused as refused:
            raise refused.inside(value, "{...}") from None

    def _native_keys(self, value: Any) -> bool:
        if not _SCALARS.issuperset(map(type, value)):
            return False
        return not self._check or all(self._scalar(key) is key for key in value)

    def _scalar(self, value: Any) -> Any:
        if type(value) is int and not -(1 << 63) <= value < 1 << 64:
            size = value.bit_length() // 8 + 1
            return [_MARKS[tag.BIG_INT], value.to_bytes(size, "little", signed=True)]
        if type(value) is str and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return [_MARKS[tag.SURROGATES], value.encode("utf-8", "surrogatepass")]
        return value


def _short(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 60 else text[:57] + "..."


_Writer = Callable[[Walk, Any, int], Any]


@functools.lru_cache(maxsize=1024)
def _writer(kind: type) -> _Writer:
    """How to write values of a type that is not in the table."""
    if kind.__module__ == "numpy":
        from sage.kernel.state import _arrays  # noqa: PLC0415 - numpy, only for who uses it

        if _arrays.is_array_type(kind):
            return _write_array
    reason = refusal(kind)
    if reason is not None:
        return _refuse(reason)
    return _write_enum if isinstance(kind, EnumMeta) else _write_record


def _refuse(reason: str) -> _Writer:
    def write(walk: Walk, value: Any, depth: int) -> Any:
        raise Refused(value, reason)

    return write


def _write_array(walk: Walk, value: Any, depth: int) -> Any:
    from sage.kernel.state import _arrays  # noqa: PLC0415 - numpy, only for who uses it

    if not _arrays.has_plain_dtype(value):
        raise Refused(value, f"has the dtype {value.dtype}, which is not stored as bytes")
    return _arrays.write(walk, value, depth)


def _write_record(walk: Walk, value: Any, depth: int) -> Any:
    cls: Any = type(value)
    record = record_of(cls)
    fields = record.read(value)
    mark, index = _MARKS[tag.RECORD], walk.class_index(record.cls, record.fields)
    if walk.native(fields):
        out: list[Any] = [mark, index, *fields]
    else:
        out = [mark, index]
        for name, field in zip(record.fields, fields, strict=True):
            out.append(_write_field(walk, value, name, field, depth))
    extras = record.extras(value)
    if extras:
        out.append({k: _write_field(walk, value, k, v, depth) for k, v in extras.items()})
    return out


def _write_field(walk: Walk, instance: Any, name: str, value: Any, depth: int) -> Any:
    if value is UNSET_FIELD:
        if is_struct(type(instance)):
            raise Refused(instance, f"has no value in its field {name!r}")
        return _MARKS[tag.UNSET]
    try:
        return walk.plain(value, depth)
    except Refused as refused:
        raise refused.inside(instance, f".{name}") from None


def _write_enum(walk: Walk, value: Any, depth: int) -> Any:
    cls = type(value)
    if cls.__members__.get(value.name) is value:
        return [_MARKS[tag.ENUM], walk.class_index(cls, None), value.name]
    if not isinstance(value, Flag) or "_missing_" in _own_names(cls):
        raise Refused(value, "is not a member of its enum")
    return [_MARKS[tag.FLAGS], walk.class_index(cls, None), walk.plain(value.value, depth)]


def _own_names(cls: type) -> set[str]:
    """What the classes below those of the standard library define."""
    return {name for base in cls.__mro__ if base.__module__ != "enum" for name in vars(base)}


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
        raise Refused(value, "was read from a file and has no key by which to find it again")
    return [_MARKS[tag.ZONE], value.key]


def _write_default_dict(walk: Walk, value: Any, depth: int) -> Any:
    factory = value.default_factory
    name = getattr(factory, "__name__", None)
    if factory is not None and FACTORIES.get(str(name)) is not factory:
        raise Refused(
            value,
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


def _write_set(code: int) -> _Writer:
    return lambda walk, value, depth: walk.items(
        [_MARKS[code]], value, walk.sorted(value, depth), depth
    )


def _write_pairs(code: int) -> _Writer:
    return lambda walk, value, depth: walk.pairs([_MARKS[code]], value, depth)


def _write_parts(code: int, *names: str) -> _Writer:
    return lambda walk, value, depth: walk.items(
        [_MARKS[code]], value, (getattr(value, name) for name in names), depth
    )


_WRITERS: Final[dict[type, _Writer]] = {
    list: Walk.list,
    dict: Walk.dict,
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

PLAIN_TYPES: Final = frozenset(_WRITERS) | _SCALARS
"""Types the codec knows by themselves, beside numpy's."""
