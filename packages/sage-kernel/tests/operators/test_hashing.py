from __future__ import annotations

import enum
import subprocess
import sys
import uuid
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import GraphError
from sage.kernel.operators.hashing import partition, stable_hash

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.integers(-(2**60), 2**60).map(float)
)
keys = st.recursive(scalars, lambda inner: st.tuples(inner, inner), max_leaves=5)


@given(keys, keys)
def test_equal_keys_have_equal_hashes(a, b):
    assert 0 <= stable_hash(a) < 2**32
    if a == b:
        assert stable_hash(a) == stable_hash(b)


@given(st.integers(-(2**70), 2**70))
def test_numbers_that_are_equal_hash_equal(n):
    if float(n) == n:
        assert stable_hash(n) == stable_hash(float(n))
        assert stable_hash((n, "x")) == stable_hash((float(n), "x"))
    assert stable_hash(True) == stable_hash(1) == stable_hash(1.0)
    assert stable_hash(-0.0) == stable_hash(0) == stable_hash(False)


def test_the_hash_is_part_of_the_contract_with_stored_state():
    assert [stable_hash(k) for k in ("", "user-1", b"user-1", 1, -7, 2.5, None, ("a", 1))] == [
        0,
        2116437524,
        3897064423,
        673842693,
        4236953942,
        3653899277,
        0x9E3779B1,
        1380408078,
    ]


def test_another_process_with_another_salt_agrees():
    code = (
        "from sage.kernel.operators.hashing import stable_hash as h;"
        "print([h(k) for k in ('a', '\\u00fc', b'a', 1, 2**80, .5, None, ('a', (1, None)))])"
    )
    out = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    here = [stable_hash(k) for k in ("a", "\u00fc", b"a", 1, 2**80, 0.5, None, ("a", (1, None)))]
    assert out == [f"{here}\n"] * 2


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


def test_subclasses_that_are_equal_hash_equal():
    import numpy as np

    assert stable_hash(Color.RED) == stable_hash("red")
    assert stable_hash(Level.HIGH) == stable_hash(3)
    assert stable_hash(Point(1, 2)) == stable_hash((1, 2))
    assert stable_hash(np.int64(5)) == stable_hash(5)
    assert stable_hash(np.float64(0.5)) == stable_hash(0.5)
    assert stable_hash(np.str_("s")) == stable_hash("s")


def test_types_are_told_apart():
    assert len({stable_hash(k) for k in ("1", b"1", 1, 1.5, None, ("1",), (1,), ())}) == 8


@pytest.mark.parametrize("make", [str, int, lambda i: i * 64, lambda i: ("t", i), float])
def test_keys_spread_over_the_subtasks(make):
    counts = [0] * 7
    for i in range(7_000):
        counts[partition(make(i), 7)] += 1
    assert min(counts) > 850
    assert max(counts) < 1150


@pytest.mark.parametrize("key", [[1], {"a": 1}, uuid.uuid4(), frozenset(), object(), (1, [2])])
def test_other_types_are_refused(key):
    with pytest.raises(GraphError, match=r"cannot partition by the key .*key_by"):
        stable_hash(key)
