"""The bytes of encoded state: msgpack of ``[FORMAT, classes, value]``.

What msgpack has itself (None, bool, 64-bit int, float, str, bytes, list, dict with such keys) is
written as it is. Everything else is an array that starts with a mark, an extension value without
data: ``[mark, *parts]``. No value of a user's is an extension value, so nothing that a user stores
can be taken for a mark. ``classes`` lists each class once: ``["module:qualname", [field, ...]]``,
an enum without fields.
"""

from __future__ import annotations

from types import NoneType
from typing import Final

import msgspec

FORMAT: Final = 1
MAX_DEPTH: Final = 100
"""Levels of nesting. The interpreter's own limit, four calls per level, must not be hit."""

SCALARS: Final = frozenset({NoneType, bool, int, float, str, bytes})
"""What msgpack keeps exactly, beside integers beyond 64 bits and lone surrogates."""

BIG_INT: Final = 1
SURROGATES: Final = 2
BYTEARRAY: Final = 3
TUPLE: Final = 4
SET: Final = 5
FROZENSET: Final = 6
DICT: Final = 7
ORDERED_DICT: Final = 8
COUNTER: Final = 9
DEFAULT_DICT: Final = 10
DEQUE: Final = 11
RANGE: Final = 12
SLICE: Final = 13
COMPLEX: Final = 14
DATETIME: Final = 15
DATE: Final = 16
TIME: Final = 17
TIMEDELTA: Final = 18
TIMEZONE: Final = 19
ZONE: Final = 20
DECIMAL: Final = 21
UUID_: Final = 22
PATH: Final = 23
ENUM: Final = 24
FLAGS: Final = 25
RECORD: Final = 26
UNSET: Final = 27
ARRAY: Final = 28
ARRAY_SCALAR: Final = 29
ARRAY_STR: Final = 30
ARRAY_BYTES: Final = 31


class Mark:
    """A mark that was read."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code


MARKS: Final = {code: msgspec.msgpack.Ext(code, b"") for code in range(1, ARRAY_BYTES + 1)}
READ_MARKS: Final = {code: Mark(code) for code in MARKS}
