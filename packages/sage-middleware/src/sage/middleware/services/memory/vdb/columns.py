"""Metadata as dictionary-coded columns: one int32 code per slot and field.

Slots never change, so a column only grows, and so does a filter's mask over it. A mask is kept per
filter and extended by the new slots when it is asked for again.
"""

from __future__ import annotations

import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from sage.middleware.services.memory.vdb import filters
from sage.middleware.services.memory.vdb.filters import BoolArray, Node, Where

IntArray = npt.NDArray[np.int32]
_EAGER_FIELDS = 32
_CACHED_MASKS = 64
_ABSENT = -1
_ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}
_ATOMS = {str: "s", int: "n", float: "n", bool: "b", type(None): "0"}


class Column:
    """One field: ``values`` by code, ``codes`` by slot (-1: the row has no such field)."""

    __slots__ = ("_lookup", "_numbers", "codes", "count", "values")

    def __init__(self) -> None:
        self.codes: IntArray = np.empty(0, np.int32)
        self.count = 0
        self.values: list[Any] = []
        self._lookup: dict[str, dict[Any, int]] = {k: {} for k in "nbs0o"}
        self._numbers = np.empty(0, np.float64)

    def restore(self, values: list[Any], codes: IntArray) -> None:
        """Take the content of a snapshot."""
        for value in values:
            kind, key = filters.identity(value)
            self._lookup[kind][key] = len(self.values)
            self.values.append(value)
        self.codes = codes
        self.count = len(codes)

    def pad(self, count: int) -> None:
        """Rows up to ``count`` do not have the field."""
        if count > self.count:
            self._room(count)
            self.codes[self.count : count] = _ABSENT
            self.count = count

    def _room(self, count: int) -> None:
        if count > len(self.codes):
            grown = np.empty(max(count, 2 * len(self.codes), 1024), np.int32)
            grown[: self.count] = self.codes[: self.count]
            self.codes = grown

    def append(self, values: Sequence[Any], missing: object) -> None:
        """The field's values of the next slots, ``missing`` where a row has none."""
        types = set(map(type, values))
        kind = _ATOMS.get(types.pop()) if len(types) == 1 else None
        if kind is not None:
            lookup = self._lookup[kind]
            codes = list(map(lookup.get, values))
            if None in codes:
                for i, code in enumerate(codes):
                    if code is None:
                        codes[i] = self._code(lookup, values[i], values[i])
        else:
            codes = []
            for value in values:
                if value is missing:
                    codes.append(_ABSENT)
                    continue
                key: Any
                atom = _ATOMS.get(type(value))
                atom, key = (atom, value) if atom is not None else filters.identity(value)
                codes.append(self._code(self._lookup[atom], key, value))
        end = self.count + len(codes)
        self._room(end)
        self.codes[self.count : end] = np.array(codes, np.int32)
        self.count = end

    def append_one(self, value: Any, missing: object, count: int) -> None:
        """The field's value of the next slot, which makes it ``count`` slots."""
        if value is missing:
            self.pad(count)
            return
        atom, key = _ATOMS.get(type(value)), value
        if atom is None:
            atom, key = filters.identity(value)
        if count > len(self.codes):
            self._room(count)
        self.codes[count - 1] = self._code(self._lookup[atom], key, value)
        self.count = count

    def _code(self, lookup: dict[Any, int], key: Any, value: Any) -> int:
        code = lookup.get(key)
        if code is None:
            code = lookup[key] = len(self.values)
            self.values.append(value)
        return code

    def test(self, test: filters.Test, start: int, end: int) -> BoolArray:
        """The slots ``start:end`` that pass."""
        codes = self.codes[start:end]
        if test.operator == "$exists":
            there: BoolArray = (codes >= 0) == test.operand
            return there
        if test.operator == "$eq":
            kind, key = filters.identity(test.operand)
            code = self._lookup[kind].get(key)
            return np.zeros(len(codes), np.bool_) if code is None else codes == code
        # The last entry answers code -1: a row without the field.
        passing = np.zeros(len(self.values) + 1, np.bool_)
        if test.operator == "$in":
            for value in test.operand:
                kind, key = filters.identity(value)
                code = self._lookup[kind].get(key)
                if code is not None:
                    passing[code] = True
        elif test.operator in _ORDER and filters.kind_of(test.operand) == "n":
            passing[:-1] = _ORDER[test.operator](self._as_numbers(), test.operand)
        else:
            check = filters.value_test(test)
            passing[:-1] = [check(v) for v in self.values]
        answer: BoolArray = passing[codes]
        return answer

    def _as_numbers(self) -> npt.NDArray[np.float64]:
        known, values = self._numbers, self.values
        if len(known) < len(values):
            # NaN compares false with everything, as text does with a number.
            more = [
                float(v) if isinstance(v, int | float) and not isinstance(v, bool) else np.nan
                for v in values[len(known) :]
            ]
            known = self._numbers = np.concatenate([known, np.array(more, np.float64)])
        return known[: len(values)]


class Mask:
    """A filter's answer for the first ``count`` slots, deleted ones included."""

    __slots__ = ("_bits", "_slots", "count")

    def __init__(self) -> None:
        self._bits = np.empty(0, np.bool_)
        self._slots: npt.NDArray[np.int64] | None = None
        self.count = 0

    def extend(self, bits: BoolArray) -> None:
        """Take the answer for the next slots."""
        end = self.count + len(bits)
        if end > len(self._bits):
            grown = np.empty(max(end, self.count + self.count // 2), np.bool_)
            grown[: self.count] = self._bits[: self.count]
            self._bits = grown
        self._bits[self.count : end] = bits
        if self._slots is not None:
            more = np.flatnonzero(bits) + self.count
            if len(more):
                self._slots = np.concatenate([self._slots, more])
        self.count = end

    def bits(self, count: int) -> BoolArray:
        """The answer for the first ``count`` slots."""
        return self._bits[:count]

    def slots(self, count: int) -> npt.NDArray[np.int64]:
        """The passing ones among the first ``count`` slots, ascending."""
        if self._slots is None:
            self._slots = np.flatnonzero(self._bits[: self.count])
        slots = self._slots
        if self.count > count:
            slots = slots[: int(np.searchsorted(slots, count))]
        return slots


class Columns:
    """All columns of a collection and the masks over them.

    ``read_field`` gives a field's value of every slot up to a count, for fields that are met only
    after ``_EAGER_FIELDS`` others.
    """

    def __init__(self, read_field: Callable[[str, int, object], Iterable[tuple[int, Any]]]) -> None:
        self.columns: dict[str, Column] = {}
        self.count = 0
        self._read_field = read_field
        self._late: set[str] = set()
        self._masks: OrderedDict[bytes, tuple[Node, Mask]] = OrderedDict()
        self._lock = threading.RLock()
        self._missing = object()

    def declare(self, field: str) -> None:
        """Keep a column for ``field`` from now on."""
        with self._lock:
            self._need(field)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The metadata of the next slots."""
        with self._lock:
            if len(rows) == 1 and rows[0].keys() <= self.columns.keys():
                self.count += 1
                for field, column in self.columns.items():
                    column.append_one(rows[0].get(field, self._missing), self._missing, self.count)
                return
            missing = self._missing
            fields = set(rows[0]) if len(rows) == 1 else set().union(*rows)
            for field in fields.difference(self.columns):
                if len(self.columns) < _EAGER_FIELDS and field not in self._late:
                    self.columns[field] = column = Column()
                    column.pad(self.count)
                else:
                    self._late.add(field)
            end = self.count + len(rows)
            for field, column in self.columns.items():
                if field in fields:
                    column.append([row.get(field, missing) for row in rows], missing)
                else:
                    column.pad(end)
            self.count = end

    def _need(self, field: str) -> Column:
        column = self.columns.get(field)
        if column is None:
            column = Column()
            if field in self._late:
                values = [self._missing] * self.count
                for slot, value in self._read_field(field, self.count, self._missing):
                    values[slot] = value
                column.append(values, self._missing)
            column.pad(self.count)
            self.columns[field] = column
            self._late.discard(field)
        return column

    def mask(self, where: Where) -> Mask:
        """The mask of a filter, current to the last appended slot."""
        key = filters.canonical(where)
        with self._lock:
            entry = self._masks.get(key)
            if entry is None:
                entry = self._masks[key] = (filters.parse(where), Mask())
                if len(self._masks) > _CACHED_MASKS:
                    self._masks.popitem(last=False)
            elif len(self._masks) > 1:
                self._masks.move_to_end(key)
            node, mask = entry
            if mask.count < self.count:
                for field in filters.fields_of(node):
                    self._need(field)
                start, end = mask.count, self.count
                mask.extend(
                    filters.evaluate(
                        node, lambda t: self.columns[t.field].test(t, start, end), end - start
                    )
                )
            return mask

    # -- snapshot --------------------------------------------------------------------------------

    def dump(self) -> tuple[bytes, dict[str, IntArray]]:
        """Fields with their values as JSON, and the codes by position of the field."""
        with self._lock:
            names = list(self.columns)
            head = {
                "count": self.count,
                "late": sorted(self._late),
                "fields": [[name, self.columns[name].values] for name in names],
            }
            codes = {f"c{i}": self.columns[n].codes[: self.count] for i, n in enumerate(names)}
            return orjson.dumps(head), codes

    def load(self, head: bytes, codes: Mapping[str, IntArray]) -> None:
        """Take the content of a snapshot."""
        data = orjson.loads(head)
        with self._lock:
            self.count = data["count"]
            self._late = set(data["late"])
            for i, (name, values) in enumerate(data["fields"]):
                self.columns[name] = column = Column()
                column.restore(values, codes[f"c{i}"])
