from __future__ import annotations

import datetime as dt
import enum
import math
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.kernel.runtime.process.codec import Codec, survives_msgpack

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**63 - 2, 2**64 + 2)
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs"]), max_size=2)
    | st.binary()
    | st.sampled_from([dt.date(2020, 1, 1), 1j, frozenset({1})])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.dictionaries(st.integers() | st.tuples(st.integers()), inner, max_size=2)
    ),
    max_leaves=10,
)


def same(a: Any, b: Any) -> bool:
    """Equality of values and of all types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return (
            list(a) == list(b)
            and all(same(k, j) for k, j in zip(a, b, strict=True))
            and all(same(a[k], b[k]) for k in a)
        )
    if isinstance(a, float):
        return math.copysign(1, a) == math.copysign(1, b) and (a == b or a != a)
    return bool(a == b)


@given(st.lists(values, max_size=5))
def test_every_value_comes_back_exactly(batch):
    codec = Codec()
    assert same(codec.decode(*codec.encode(batch)), batch)


class Level(enum.IntEnum):
    LOW = 1


class Name(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int


@attrs.frozen
class Query:
    text: str


@pytest.mark.parametrize(
    "value",
    [(1,), {1: 2}, Level.LOW, Name("a"), Point(1), Query("q"), {1}, bytearray(b"x"), {"a": ()}],
)
def test_types_msgpack_would_change_go_as_pickle(value):
    assert not survives_msgpack([value])
    codec = Codec((__name__,))
    is_msgpack, data = codec.encode([value])
    assert not is_msgpack
    assert same(codec.decode(is_msgpack, data), [value])


def test_plain_rows_go_as_msgpack():
    row = {"id": 7, "text": "é", "score": 0.5, "tags": ["a"], "meta": {"ok": None, "raw": b"\x00"}}
    is_msgpack, data = Codec().encode([row] * 3)
    assert is_msgpack
    assert Codec().decode(is_msgpack, data) == [row] * 3


def test_what_msgpack_refuses_is_pickled():
    loop: list[Any] = []
    loop.append(loop)
    for value in (2**64, "\ud800"):
        assert Codec().encode([value])[0] is False
    is_msgpack, data = Codec().encode(loop)
    back = Codec().decode(is_msgpack, data)
    assert back[0] is back
