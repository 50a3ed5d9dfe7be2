from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import GraphError
from sage.kernel.operators import DROPPED

keys = st.sampled_from(["a", "b", None, 3])


def test_tumbling_count_window_emits_full_windows_and_flushes_the_rest(rig):
    rig.make("window", sum, type="count", size=3, keyed=False)
    assert [rig.feed(None, x) for x in (1, 2, 3, 4)] == [[], [], [6], []]
    assert list(rig.operator.finish()) == [4]
    assert list(rig.operator.finish()) == []


def test_window_without_function_emits_lists(rig):
    rig.make("window", type="count", size=2)
    assert rig.feed("k", 1) + rig.feed("k", 2) == [[1, 2]]


def test_windows_of_keys_are_separate_and_set_the_key_of_their_output(rig):
    op = rig.make("window", type="count", size=2)
    assert rig.feed("a", 1) + rig.feed("b", 2) + rig.feed("a", 3) == [[1, 3]]
    rig.feed("a", 4)
    assert rig.keyed(op.finish()) == [("b", [2]), ("a", [4])]


@given(
    st.lists(st.tuples(keys, st.integers()), max_size=60),
    st.integers(1, 6),
    st.integers(1, 8),
)
def test_count_windows_equal_slices(new_rig, items, size, slide):
    rig = new_rig()
    op = rig.make("window", type="count", size=size, slide=slide)
    got: dict[Any, list[list[int]]] = {}
    for key, value in items:
        for window in rig.feed(key, value):
            got.setdefault(key, []).append(window)
    for window in op.finish():
        got.setdefault(rig.ctx.key, []).append(window)

    for key in {key for key, _ in items}:
        values = [v for k, v in items if k == key]
        expected = []
        covered = 0
        for start in range(0, len(values), slide):
            window = values[start : start + size]
            if len(window) == size or start + len(window) > covered:
                expected.append(window)
            covered = max(covered, start + len(window))
        assert got.get(key, []) == expected


@given(
    st.lists(st.tuples(keys, st.integers(0, 9), st.floats(0, 7)), max_size=40),
    st.sampled_from([1.0, 2.5, 4.0, 0.3]),
    st.sampled_from([1.0, 0.1, 3.0, 5.0]),
)
def test_time_windows_equal_a_slow_reference(new_rig, items, size, slide):
    rig = new_rig()
    op = rig.make("window", type="time", size=size, slide=slide)
    fired: list[tuple[Any, list[Any]]] = []
    seen: list[tuple[float, Any, Any]] = []

    for key, value, wait in items:
        rig.now = round(rig.now + wait, 9)  # windows are counted in whole nanoseconds
        while (at := op.next_time()) is not None and at <= rig.now:
            fired += rig.keyed(op.on_time(rig.now))
        seen.append((rig.now, key, value))
        assert rig.feed(key, value) == []
    fired += rig.keyed(op.finish())

    expected: list[tuple[Any, list[Any]]] = []
    if seen:
        whole, step = round(size * 1e9), round(slide * 1e9)
        first = math.floor((seen[0][0] - size) / slide) - 1
        last = math.floor(seen[-1][0] / slide) + 1
        for k in range(first, last + 1):
            groups: dict[Any, list[Any]] = {}
            for at, key, value in seen:
                if k * step <= round(at * 1e9) < k * step + whole:
                    groups.setdefault(key, []).append(value)
            expected += groups.items()
    assert fired == expected


def test_an_item_at_the_seam_of_two_windows_is_in_one_of_them(new_rig):
    rig = new_rig()
    op = rig.make("window", type="time", size=0.005)
    start = 1_796_085_537.0  # where floats are coarse: 5 ms is no multiple of their distance
    windows = []
    for nth in range(5000):
        rig.now = start + nth * 0.001
        windows += rig.feed("k", nth)
    windows += op.finish()
    assert [item for window in windows for item in window] == list(range(5000))


def test_time_window_is_aligned_to_the_epoch(rig):
    rig.now = 119.0
    op = rig.make("window", type="time", size=60)
    rig.feed("k", "x")
    assert op.next_time() == 120.0
    assert rig.advance(1.0) == [["x"]]
    assert op.next_time() is None


def test_item_after_the_end_of_a_window_pushes_it_out(rig):
    rig.make("window", type="time", size=10)
    rig.feed("k", 1)
    rig.now += 10
    assert rig.feed("k", 2) == [[1]]
    assert rig.ctx.key == "k"


def test_a_raising_function_loses_only_its_own_window(rig):
    def total(items: list[int]) -> int:
        if 2 in items:
            raise ValueError("two")
        return sum(items)

    op = rig.make("window", total, type="count", size=5)
    for key in "abc":
        rig.feed(key, "abc".index(key) + 1)
    out: list[int] = []
    with pytest.raises(ValueError, match="two"):
        out.extend(op.finish())  # keeps what came before the error
    out += op.finish()
    assert out == [1, 3]


def test_dropped_results_are_not_emitted(rig):
    rig.make("window", lambda items: DROPPED, type="count", size=1)
    assert rig.feed("k", 1) == []


@pytest.mark.parametrize(
    "params",
    [
        {"type": "count", "size": 3},
        {"type": "count", "size": 4, "slide": 2},
        {"type": "count", "size": 2, "slide": 3},
        {"type": "time", "size": 4.0, "slide": 2.0},
    ],
)
@pytest.mark.parametrize("cut", [1, 4, 7])
def test_a_restored_window_goes_on_where_it_was(new_rig, params, cut):
    items = [("ab"[i % 2], i) for i in range(11)]

    def run(restart: bool) -> list[Any]:
        rig = new_rig()
        op = rig.make("window", **params)
        out: list[Any] = []
        for i, (key, value) in enumerate(items):
            if restart and i == cut:
                saved = op.snapshot()
                op = rig.make("window", **params)
                op.restore(saved)
            rig.now += 0.7
            out += rig.feed(key, value)
        return out + list(op.finish())

    assert run(restart=True) == run(restart=False)


def test_unhashable_key_names_the_step(rig):
    for params in (
        {"type": "count", "size": 2},
        {"type": "count", "size": 3, "slide": 1},
        {"type": "time", "size": 1},
    ):
        rig.make("window", **params)
        with pytest.raises(GraphError, match=r"'step': the key \[1\] of type 'list'"):
            rig.feed([1], "x")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"size": 0}, "size must be an int >= 1"),
        ({"size": 2.5}, "size must be an int >= 1"),
        ({"size": True}, "size must be an int >= 1"),
        ({"size": 3, "slide": 0}, "slide must be an int >= 1"),
        ({"type": "time", "size": 0}, "size must be a number > 0"),
        ({"type": "time", "size": 1, "slide": math.inf}, "slide must be a number > 0"),
        ({"type": "session", "size": 1}, "'count' or 'time'"),
        ({}, "got None"),
    ],
)
def test_wrong_settings_are_refused(rig, params, words):
    with pytest.raises(GraphError, match=words):
        rig.make("window", **params)
