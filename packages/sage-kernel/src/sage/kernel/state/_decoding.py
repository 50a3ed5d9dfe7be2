"""The plain form that ``_tags`` describes to values, without running code of their classes.

Classes are looked up among the modules that are loaded (or that the caller allows to be loaded)
and must be enums or records; instances are allocated and filled. What runs of a user's class is
``__hash__`` and ``__eq__`` where an instance is a key or in a set, default factories of fields
that the saved state does not have, and ``__upgrade_state__``.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import importlib
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from enum import EnumMeta
from typing import Any, Final

import msgspec

from sage.kernel.state import _tags as tag
from sage.kernel.state._records import (
    UPGRADE,
    Record,
    can_be_combined,
    find_class,
    has_default,
    record_of,
    refusal,
)
from sage.kernel.state._writers import FACTORIES, PATHS

_UNSET: Final = tag.READ_MARKS[tag.UNSET]
_DEEPEST: Final = 3 * tag.MAX_DEPTH
"""A level of values is written as up to three lists in each other."""


class Unreadable(Exception):
    """The bytes, or the classes they name, are not what they should be; ``decode`` says where."""


class SavedClass:
    """A class as it was when state was saved, beside what it is now."""

    __slots__ = ("added", "fields", "now", "record", "unchanged", "upgrade")

    def __init__(self, now: type, fields: list[str] | None) -> None:
        self.now = now
        self.fields: tuple[str, ...] = tuple(fields or ())
        self.record: Record | None = None
        self.added: tuple[str, ...] = ()
        self.unchanged = False
        self.upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        if isinstance(now, EnumMeta):
            if fields is not None:
                raise Unreadable(f"{now.__qualname__} was a class with fields and is an enum now")
            return
        if fields is None:
            raise Unreadable(f"{now.__qualname__} was an enum and is a class with fields now")
        self.record = record_of(now)
        self.unchanged = self.fields == self.record.fields
        removed = sorted(set(self.fields) - set(self.record.fields))
        added = set(self.record.fields) - set(self.fields)
        if removed or added:
            self.upgrade = getattr(now, UPGRADE, None)
        if self.upgrade is not None:
            return
        if removed:
            raise Unreadable(
                f"the saved {now.__qualname__} has the field {removed[0]!r}, which the class no "
                f"longer has; keep the field, or give the class a class method {UPGRADE}(fields) "
                "that takes the saved fields as a dict and returns those it has now"
            )
        self._add(self.record.fields, added)

    def _add(self, order: tuple[str, ...], added: set[str]) -> None:
        for name in sorted(added):
            if not has_default(self.now, name):
                raise Unreadable(
                    f"{self.now.__qualname__} has the field {name!r}, which the saved one does "
                    f"not have; give it a default, or give the class a class method {UPGRADE}"
                    "(fields) that takes the saved fields as a dict and returns those it has now"
                )
        self.added = tuple(name for name in order if name in added)

    def make(self, values: list[Any]) -> Any:
        """An instance of the class as it is now."""
        record = self.record
        if record is None:
            raise Unreadable(f"{self.now.__qualname__} is an enum, not a class with fields")
        if self.unchanged and tag.Mark not in map(type, values):
            return record.build(values)
        fields = {
            name: value
            for name, value in zip(self.fields, values, strict=True)
            if value is not _UNSET
        }
        if self.upgrade is not None:
            fields = dict(self.upgrade(fields))
            unknown = sorted(fields.keys() - set(record.fields))
            if unknown:
                raise Unreadable(
                    f"{self.now.__qualname__}.{UPGRADE} returned the field {unknown[0]!r}, which "
                    f"the class does not have; it has {', '.join(record.fields)}"
                )
            self._add(record.fields, set(record.fields) - fields.keys())
        return record.make(fields, self.added)


class Reader:
    """Reads one document.

    Args:
        may_import: Which modules may be loaded to find a class.
    """

    def __init__(self, may_import: Callable[[str], bool]) -> None:
        self._may_import = may_import
        self._table: list[Any] = []
        self._classes: dict[int, SavedClass] = {}
        self._marked = False
        self._depth = 0

    def read(self, data: bytes) -> Any:
        """The value."""
        root = msgspec.msgpack.Decoder(ext_hook=self._mark).decode(data)
        if type(root) is not list or not root or type(root[0]) is not int:
            raise Unreadable("these are not bytes of the state codec")
        if root[0] != tag.FORMAT:
            raise Unreadable(
                f"these bytes have format {root[0]}, and this version of SAGE reads format "
                f"{tag.FORMAT}; read them with the version that wrote them"
            )
        _, self._table, value = root
        return self.value(value) if self._marked else value

    def _mark(self, code: int, data: memoryview) -> tag.Mark:
        self._marked = True
        if len(data) or code not in tag.READ_MARKS:
            raise Unreadable(f"unknown mark {code}")
        return tag.READ_MARKS[code]

    def value(self, plain: Any) -> Any:
        """The value of a plain form; containers are filled in place."""
        kind = type(plain)
        if kind is list:
            if plain and type(plain[0]) is tag.Mark:
                self._depth += 1
                if self._depth > _DEEPEST:
                    raise Unreadable(f"the values are nested deeper than {tag.MAX_DEPTH} levels")
                made = _READERS[plain[0].code](self, plain)
                self._depth -= 1
                return made
            if not tag.SCALARS.issuperset(map(type, plain)):
                for index, each in enumerate(plain):
                    plain[index] = self.value(each)
            return plain
        if kind is dict:
            if not tag.SCALARS.issuperset(map(type, plain)):
                raise Unreadable("a key is not a plain value")
            for key, each in plain.items():
                plain[key] = self.value(each)
            return plain
        if kind in tag.SCALARS:
            return plain
        raise Unreadable("a mark is where a value should be")

    def parts(self, plain: list[Any], start: int = 1) -> list[Any]:
        """The values after the mark."""
        parts = plain[start:]
        if not tag.SCALARS.issuperset(map(type, parts)):
            for index, each in enumerate(parts):
                parts[index] = self.value(each)
        return parts

    def pairs(self, plain: list[Any], start: int = 1) -> Iterator[tuple[Any, Any]]:
        """Keys and values after the mark."""
        values = iter(self.parts(plain, start))
        return zip(values, values, strict=True)

    def saved_class(self, index: int) -> SavedClass:
        """The class at a place in the table."""
        saved = self._classes.get(index)
        if saved is None:
            if type(index) is not int or not 0 <= index < len(self._table):
                raise Unreadable("a class is not in the table of classes")
            saved = self._classes[index] = self._find(*self._table[index])
        return saved

    def _find(self, name: str, fields: list[str] | None = None) -> SavedClass:
        module, _, qualname = name.partition(":")
        cls = find_class(module, qualname)
        if cls is None and self._may_import(module):
            try:
                importlib.import_module(module)
            except ImportError as exc:
                raise Unreadable(f"the module of the saved class {name!r}: {exc}") from exc
            cls = find_class(module, qualname)
        if cls is None:
            raise Unreadable(
                f"the saved class {name!r} is not loaded; import it in the module that builds the "
                "graph (if it was moved or renamed, leave its old name there: Old = New)"
            )
        if not isinstance(cls, type):
            raise Unreadable(f"{name!r} is not a class")
        reason = refusal(cls)
        if reason is not None:
            raise Unreadable(f"the saved class {name!r} {reason}")
        return SavedClass(cls, fields)


def _read_record(reader: Reader, plain: list[Any]) -> Any:
    saved = reader.saved_class(plain[1])
    values = plain[2:]
    if not tag.SCALARS.issuperset(map(type, values)):
        for index, each in enumerate(values):
            if each is not _UNSET:
                values[index] = reader.value(each)
    count = len(saved.fields)
    if len(values) == count:
        return saved.make(values)
    extras = values[count] if len(values) == count + 1 else None
    if type(extras) is not dict or saved.record is None:
        raise Unreadable(f"a {saved.now.__qualname__} has {len(values)} fields")
    instance = saved.make(values[:count])
    saved.record.fill(instance, extras)
    return instance


def _read_enum(reader: Reader, plain: list[Any]) -> Any:
    cls: Any = reader.saved_class(plain[1]).now
    members: Any = cls.__members__ if isinstance(cls, EnumMeta) else {}
    if plain[2] not in members:
        raise Unreadable(
            f"{cls.__qualname__} has no member {plain[2]!r}; it has {', '.join(members)}"
        )
    return members[plain[2]]


def _read_flags(reader: Reader, plain: list[Any]) -> Any:
    cls: Any = reader.saved_class(plain[1]).now
    if not can_be_combined(cls):
        raise Unreadable(f"{cls.__qualname__} has no combinations of members")
    return cls(reader.value(plain[2]))


def _read_datetime(reader: Reader, plain: list[Any]) -> Any:
    return _moment(reader, plain, dt.datetime.fromisoformat(plain[1]))


def _read_time(reader: Reader, plain: list[Any]) -> Any:
    return _moment(reader, plain, dt.time.fromisoformat(plain[1]))


def _moment(reader: Reader, plain: list[Any], naive: Any) -> Any:
    if len(plain) == 2:
        return naive
    _, _, fold, zone = plain
    return naive.replace(fold=fold, tzinfo=reader.value(zone))


def _read_default_dict(reader: Reader, plain: list[Any]) -> Any:
    factory = None if plain[1] is None else FACTORIES[plain[1]]
    return collections.defaultdict(factory, reader.pairs(plain, 2))


def _read_counter(reader: Reader, plain: list[Any]) -> Any:
    counter: collections.Counter[Any] = collections.Counter()
    dict.update(counter, reader.pairs(plain))  # Counter.update would add and compare
    return counter


def _read_array(reader: Reader, plain: list[Any]) -> Any:
    from sage.kernel.state import _arrays  # noqa: PLC0415 - numpy, only for who uses it

    _, descr, shape, order, data = plain
    return _arrays.read_array(reader.value(descr), shape, order, data)


def _read_array_scalar(reader: Reader, plain: list[Any]) -> Any:
    from sage.kernel.state import _arrays  # noqa: PLC0415 - numpy, only for who uses it

    return _arrays.read_scalar(reader.value(plain[1]), plain[2])


def _read_array_text(reader: Reader, plain: list[Any]) -> Any:
    from sage.kernel.state import _arrays  # noqa: PLC0415 - numpy, only for who uses it

    return _arrays.read_text(reader.value(plain[1]))


_READERS: Final[dict[int, Callable[[Reader, list[Any]], Any]]] = {
    tag.BIG_INT: lambda reader, plain: int.from_bytes(plain[1], "little", signed=True),
    tag.SURROGATES: lambda reader, plain: str(plain[1], "utf-8", "surrogatepass"),
    tag.BYTEARRAY: lambda reader, plain: bytearray(memoryview(plain[1])),
    tag.TUPLE: lambda reader, plain: tuple(reader.parts(plain)),
    tag.SET: lambda reader, plain: set(reader.parts(plain)),
    tag.FROZENSET: lambda reader, plain: frozenset(reader.parts(plain)),
    tag.DICT: lambda reader, plain: dict(reader.pairs(plain)),
    tag.ORDERED_DICT: lambda reader, plain: collections.OrderedDict(reader.pairs(plain)),
    tag.COUNTER: _read_counter,
    tag.DEFAULT_DICT: _read_default_dict,
    tag.DEQUE: lambda reader, plain: collections.deque(reader.parts(plain, 2), plain[1]),
    tag.RANGE: lambda reader, plain: range(*reader.parts(plain)),
    tag.SLICE: lambda reader, plain: slice(*reader.parts(plain)),
    tag.COMPLEX: lambda reader, plain: complex(plain[1], plain[2]),
    tag.DATETIME: _read_datetime,
    tag.DATE: lambda reader, plain: dt.date.fromisoformat(plain[1]),
    tag.TIME: _read_time,
    tag.TIMEDELTA: lambda reader, plain: dt.timedelta(*plain[1:]),
    tag.TIMEZONE: lambda reader, plain: dt.timezone(*reader.parts(plain)),
    tag.ZONE: lambda reader, plain: zoneinfo.ZoneInfo(plain[1]),
    tag.DECIMAL: lambda reader, plain: decimal.Decimal(plain[1]),
    tag.UUID_: lambda reader, plain: uuid.UUID(bytes=plain[1]),
    tag.PATH: lambda reader, plain: PATHS[plain[1]](reader.value(plain[2])),
    tag.ENUM: _read_enum,
    tag.FLAGS: _read_flags,
    tag.RECORD: _read_record,
    tag.ARRAY: _read_array,
    tag.ARRAY_SCALAR: _read_array_scalar,
    tag.ARRAY_STR: _read_array_text,
    tag.ARRAY_BYTES: _read_array_text,
}
