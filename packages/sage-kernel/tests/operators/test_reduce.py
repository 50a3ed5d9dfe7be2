from __future__ import annotations

from functools import reduce
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.api.context import RuntimeContext
from sage.common.errors import GraphError
from sage.kernel.graph.model import FunctionSpec, Node
from sage.kernel.operators import DROPPED, make_operator


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers()), max_size=30))
def test_every_update_is_emitted(new_rig, items):
    rig = new_rig()
    rig.make("reduce", lambda a, b: a - b)
    out: dict[str, list[int]] = {"a": [], "b": []}
    for key, value in items:
        out[key] += rig.feed(key, value)
    for key in "ab":
        values = [v for k, v in items if k == key]
        assert out[key] == list(accumulate(values, lambda a, b: a - b))


@given(st.lists(st.integers(), max_size=20))
def test_initial_value_is_used_per_key(new_rig, values):
    rig = new_rig()
    rig.make("reduce", lambda acc, x: [*acc, x], initial=[])
    for key in "ab":
        out = [rig.feed(key, v)[-1] for v in values]
        assert out[-1:] == ([reduce(lambda a, x: [*a, x], values, [])] if values else [])


def test_mutable_and_factory_initials_are_not_shared_between_keys(rig):
    def add(acc: list[int], x: int) -> list[int]:
        acc.append(x)
        return acc

    for initial in ([], list):
        rig.make("reduce", add, initial=initial)
        rig.feed("a", 1)
        assert rig.feed("b", 2) == [[2]]


def test_none_is_a_value(rig):
    rig.make("reduce", lambda acc, x: x, initial=None)
    assert rig.feed("k", None) == [None]
    assert rig.feed("k", 1) == [1]


def test_a_failing_or_dropped_update_leaves_the_accumulator(rig):
    def add(acc: int, x: int) -> int:
        if x == 2:
            raise ValueError
        return DROPPED if x == 3 else acc + x  # type: ignore[return-value]

    op = rig.make("reduce", add)
    rig.feed("k", 1)
    with pytest.raises(ValueError):
        rig.feed("k", 2)
    assert rig.feed("k", 3) == []
    assert rig.feed("k", 10) == [11]
    saved = op.snapshot()
    op = rig.make("reduce", add)
    op.restore(saved)
    assert rig.feed("k", 5) == [16]


def test_unhashable_keys_and_missing_functions_are_refused(rig):
    rig.make("reduce", max)
    with pytest.raises(GraphError, match="not hashable"):
        rig.feed([], 1)
    with pytest.raises(GraphError, match="reduce needs a function"):
        rig.make("reduce")


def test_other_kinds_have_no_operator():
    ctx = RuntimeContext(job_id="j", job_name="n", operator="o", uid="u")
    node = Node(1, "map", "m", uid="u", specs=(FunctionSpec(abs),))
    with pytest.raises(GraphError, match="no stateful operator"):
        make_operator(node, (abs,), ctx, None, lambda: 0.0)
