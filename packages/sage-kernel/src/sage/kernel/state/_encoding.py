"""Values to the plain form that ``_tags`` describes.

Containers that hold nothing but what msgpack keeps exactly are recognised level by level with
set operations, at a few ns per element, and are given to msgpack as they are.

Successor: ``_writers``, one function per type.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

import msgspec

from sage.kernel.state import _tags as tag
from sage.kernel.state._records import Record, class_name, record_of
from sage.kernel.state._refused import Refused
from sage.kernel.state._writers import WRITERS, writer_of

_MARKS: Final = tag.MARKS
_SCALARS: Final = tag.SCALARS
_ORDERED: Final = frozenset({str, int, bytes})
_to_msgpack = msgspec.msgpack.Encoder().encode


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
        self._records: dict[type, tuple[Record, list[Any]]] = {}
        self._enums: dict[type, int] = {}

    def plain(self, value: Any, depth: int) -> Any:
        """The plain form of any value."""
        kind: Any = type(value)
        if kind in _SCALARS:
            return self._scalar(value) if self._check else value
        if depth >= tag.MAX_DEPTH:
            raise Refused(kind, f"is nested deeper than {tag.MAX_DEPTH} levels")
        writer = WRITERS.get(kind) or writer_of(kind)
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

    def record(self, cls: Any) -> tuple[Record, list[Any]]:
        """How instances of a class are read, and what each begins with."""
        known = self._records.get(cls)
        if known is None:
            record = record_of(cls)
            known = (record, [_MARKS[tag.RECORD], len(self.classes)])
            self._records[cls] = known
            self.classes.append([class_name(cls), list(record.fields)])
        return known

    def enum(self, cls: type) -> int:
        """The place of an enum in the table of classes."""
        index = self._enums.get(cls)
        if index is None:
            index = self._enums[cls] = len(self.classes)
            self.classes.append([class_name(cls)])
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

    def sorted(self, value: Any) -> Iterable[Any]:
        """The elements of a set in an order that depends on their bytes only."""
        kinds = set(map(type, value))
        if kinds == {tuple}:
            kinds = set(map(type, chain.from_iterable(value)))
        if kinds <= _ORDERED:
            try:
                return sorted(value)
            except TypeError:
                pass  # a mixture
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
