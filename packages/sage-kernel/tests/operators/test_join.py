from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import GraphError
from sage.kernel.operators.join import InnerJoinOne

events = st.lists(st.tuples(st.integers(0, 1), st.sampled_from("abc")), max_size=40)
hows = st.sampled_from(["inner", "left", "right", "outer"])


def run(rig: Any, items: list[tuple[int, str]], ends: tuple[int, int] | None = None) -> list[Any]:
    """Feed numbered items; ``ends`` says after how many events each input ends."""
    out: list[Any] = []
    for i, (port, key) in enumerate(items):
        out += rig.feed(key, f"{key}{i}", port)
    if ends is None:
        out += rig.operator.end_input(0)
        out += rig.operator.end_input(1)
    return out + list(rig.operator.finish())


@given(events, hows)
def test_join_all_equals_nested_loop(new_rig, items, how):
    rig = new_rig()
    rig.make("join", how=how, match="all")
    out = run(rig, items)
    left = [f"{k}{i}" for i, (p, k) in enumerate(items) if p == 0]
    right = [f"{k}{i}" for i, (p, k) in enumerate(items) if p == 1]
    expected: Counter[Any] = Counter((a, b) for a in left for b in right if a[0] == b[0])
    if how in ("left", "outer"):
        expected += Counter((a, None) for a in left if not any(b[0] == a[0] for b in right))
    if how in ("right", "outer"):
        expected += Counter((None, b) for b in right if not any(a[0] == b[0] for a in left))
    assert Counter(out) == expected


@given(events, hows)
def test_join_one_pairs_the_nth_with_the_nth(new_rig, items, how):
    rig = new_rig()
    rig.make("join", how=how, match="one")
    out = run(rig, items)
    expected: Counter[Any] = Counter()
    for key in "abc":
        left = [f"{k}{i}" for i, (p, k) in enumerate(items) if p == 0 and k == key]
        right = [f"{k}{i}" for i, (p, k) in enumerate(items) if p == 1 and k == key]
        pairs = min(len(left), len(right))
        expected += Counter(zip(left, right, strict=False))
        if how in ("left", "outer"):
            expected += Counter((a, None) for a in left[pairs:])
        if how in ("right", "outer"):
            expected += Counter((None, b) for b in right[pairs:])
    assert Counter(out) == expected


@given(events, hows, st.sampled_from(["all", "one"]), st.integers(0, 40), st.integers(0, 1))
def test_an_early_end_of_one_input_changes_nothing_but_the_moment(
    new_rig, items, how, match, at, port
):
    items = [e for i, e in enumerate(items) if i < at or e[0] != port]
    early, late = new_rig(), new_rig()
    out: list[Any] = []
    early.make("join", how=how, match=match)
    for i, (p, key) in enumerate(items):
        if i == at:
            out += early.operator.end_input(port)
        out += early.feed(key, f"{key}{i}", p)
    if at >= len(items):
        out += early.operator.end_input(port)
    out += early.operator.end_input(1 - port)
    out += early.operator.finish()
    late.make("join", how=how, match=match)
    assert Counter(out) == Counter(run(late, items))


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from("ab"), st.integers(0, 5)), max_size=30),
    hows,
)
def test_windowed_join_pairs_what_is_close_in_time(new_rig, items, how):
    rig = new_rig()
    rig.make("join", how=how, window=6)
    out: list[Any] = []
    left, right = [], []
    for i, (port, key, wait) in enumerate(items):
        out += rig.advance(wait)
        value = f"{key}{i}"
        (left, right)[port].append((value, rig.now))
        out += rig.feed(key, value, port)
    out += rig.operator.finish()

    pairs = [(a, b) for a, s in left for b, t in right if a[0] == b[0] and abs(s - t) < 6]
    expected = Counter(pairs)
    if how in ("left", "outer"):
        expected += Counter((a, None) for a, _ in left if a not in {p[0] for p in pairs})
    if how in ("right", "outer"):
        expected += Counter((None, b) for b, _ in right if b not in {p[1] for p in pairs})
    assert Counter(out) == expected


def test_pairs_come_as_soon_as_both_are_there_and_in_arrival_order(rig):
    rig.make("join", lambda a, b: f"{a}-{b}")
    assert rig.feed("k", "l1", 0) == []
    assert rig.feed("k", "l2", 0) == []
    assert rig.feed("k", "r1", 1) == ["l1-r1", "l2-r1"]
    assert rig.feed("k", "l3", 0) == ["l3-r1"]


@pytest.mark.parametrize("how", ["inner", "outer"])
def test_join_one_holds_only_what_still_waits(rig, how):
    op = rig.make("join", how=how, match="one")
    rig.feed("waits", "x", 0)
    for i in range(5_000):
        rig.feed(i, "l", 0)
        assert len(rig.feed(i, "r", 1)) == 1
    sides = op.snapshot()["sides"]
    assert [len(side) for side in sides] == [1, 0]
    if not isinstance(op, InnerJoinOne):
        assert len(op._by_age[0]) <= 130
        assert len(op._tables[0]) == 1


def test_expired_items_leave_the_state_and_outer_ones_are_emitted_with_their_key(rig):
    op = rig.make("join", how="left", window=10)
    rig.feed("a", 1, 0)
    rig.now += 1
    rig.feed("b", 2, 0)
    rig.feed("b", 3, 1)
    assert op.next_time() == rig.now + 9
    rig.now += 10
    assert rig.keyed(op.on_time(rig.now)) == [("a", (1, None))]
    assert op.next_time() is None
    assert op.snapshot()["sides"] == [[], []]


def test_right_items_before_any_left_wait_until_the_left_input_ends(rig):
    op = rig.make("join", how="right")
    rig.feed("a", 1, 1)
    assert list(op.end_input(0)) == [(None, 1)]
    assert rig.feed("a", 2, 1) == [(None, 2)]
    assert list(op.finish()) == []


@pytest.mark.parametrize("match", ["all", "one"])
@pytest.mark.parametrize("how", ["inner", "outer"])
@pytest.mark.parametrize("window", [None, 30])
def test_a_restored_join_goes_on_where_it_was(new_rig, match, how, window):
    items = [(0, "a"), (0, "a"), (1, "b"), (1, "a"), (0, "b"), (1, "a"), (0, "c"), (1, "a")]

    def outputs(cut: int | None) -> list[Any]:
        rig = new_rig()
        op = rig.make("join", how=how, match=match, window=window)
        out: list[Any] = []
        for i, (port, key) in enumerate(items):
            if i == cut:
                saved = op.snapshot()
                op = rig.make("join", how=how, match=match, window=window)
                op.restore(saved)
            rig.now += 1
            out += rig.feed(key, i, port)
        return out + list(op.finish())

    for cut in range(len(items)):
        assert outputs(cut) == outputs(None)


def test_wrong_settings_and_keys_are_refused(rig):
    with pytest.raises(GraphError, match="join how must be"):
        rig.make("join", how="cross")
    with pytest.raises(GraphError, match="join match must be"):
        rig.make("join", match="some")
    with pytest.raises(GraphError, match="join window must be a number > 0"):
        rig.make("join", window=0)
    for match in ("one", "all"):
        rig.make("join", match=match)
        with pytest.raises(GraphError, match="not hashable"):
            rig.feed([], 1)
        rig.make("join", lambda a, b: a + b, match=match)
        rig.feed("k", 1, 0)
        with pytest.raises(TypeError, match="unsupported operand"):
            rig.feed("k", "s", 1)
