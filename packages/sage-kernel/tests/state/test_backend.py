from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.api.context import RuntimeContext
from sage.common.errors import GraphError, JobError
from sage.kernel.state import StateBackend


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[RuntimeContext, StateBackend, Clock]:
    ctx = RuntimeContext(job_id="j", job_name="n", operator="count", uid="u")
    clock = Clock()
    return ctx, StateBackend(ctx, clock), clock


@pytest.fixture(params=[None, 50.0], ids=["plain", "ttl"])
def ttl(request: Any) -> Any:
    return request.param


def test_values_are_per_key_and_default_until_set(ttl):
    ctx, _, _ = make()
    state = ctx.value_state("n", 7, ttl=ttl)
    ctx.key = "a"
    assert state.value == 7
    state.value += 1
    ctx.key = "b"
    assert state.value == 7
    ctx.key = "a"
    assert state.value == 8
    state.clear()
    assert state.value == 7


@pytest.mark.parametrize("default", [list, []])
def test_mutable_defaults_are_per_key_and_kept(ttl, default):
    ctx, _, _ = make()
    state = ctx.value_state("seen", default, ttl=ttl)
    ctx.key = 1
    state.value.append("x")
    ctx.key = 2
    assert state.value == []
    ctx.key = 1
    assert state.value == ["x"]


def test_none_is_a_stored_value(ttl):
    ctx, _, _ = make()
    state = ctx.value_state("n", 7, ttl=ttl)
    state.value = None
    assert state.value is None


def test_lists_and_maps(ttl):
    ctx, backend, _ = make()
    items, fields = ctx.list_state("l", ttl=ttl), ctx.map_state("m", ttl=ttl)
    ctx.key = "a"
    items.append(1)
    items.append(2)
    items.get().append("copy")
    fields.put("x", 1)
    fields.put("y", 2)
    fields.put("x", 3)
    for name, number in fields.items():  # changing while iterating is fine
        if number == 2:
            fields.remove(name)
    ctx.key = "b"
    assert items.get() == []
    assert list(fields.items()) == []
    assert fields.get("x", "none") == "none"
    fields.remove("x")
    ctx.key = "a"
    assert items.get() == [1, 2]
    assert dict(fields.items()) == {"x": 3}
    fields.remove("x")
    items.clear()
    assert list(backend.keys()) == []


def test_equal_keys_share_state_as_in_a_dict():
    ctx, _, _ = make()
    state = ctx.value_state("n", 0)
    ctx.key = 1
    state.value = 5
    ctx.key = 1.0
    assert state.value == 5


def test_values_expire_after_their_last_write():
    ctx, backend, clock = make()
    state = ctx.value_state("n", 0, ttl=10)
    ctx.key = "a"
    state.value = 1
    clock.now += 6
    state.value += 1
    clock.now += 6
    assert state.value == 2
    clock.now += 4
    assert state.value == 0
    assert list(backend.keys()) == []


def test_list_elements_and_map_fields_expire_one_by_one():
    ctx, _, clock = make()
    items, fields = ctx.list_state("l", ttl=10), ctx.map_state("m", ttl=10)
    items.append(1)
    fields.put("x", 1)
    clock.now += 6
    items.append(2)
    fields.put("y", 2)
    clock.now += 5
    assert items.get() == [2]
    assert list(fields.items()) == [("y", 2)]
    assert fields.get("x") is None
    items.append(3)
    fields.put("z", 3)
    clock.now += 6
    assert items.get() == [3]
    assert dict(fields.items()) == {"z": 3}


def test_memory_follows_the_live_keys_without_reading_the_dead():
    ctx, _, clock = make()
    state = ctx.value_state("n", 0, ttl=100)
    for i in range(10_000):
        clock.now += 1
        ctx.key = i
        state.value = i
    assert len(state._entries) <= 101


def test_sweep_and_keys():
    ctx, backend, clock = make()
    short, plain = ctx.list_state("s", ttl=1), ctx.value_state("p")
    for i in range(5):
        ctx.key = i
        short.append(i)
    ctx.key = "p"
    plain.value = 1
    assert set(backend.keys()) == {0, 1, 2, 3, 4, "p"}
    clock.now += 1
    assert list(backend.keys()) == ["p"]
    assert backend.sweep() == 5
    assert backend.sweep() == 0


plain = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
writes = st.lists(
    st.tuples(
        st.sampled_from(["value", "append", "put", "clear", "remove"]),
        st.sampled_from(["a", "b", "c"]),
        plain,
    ),
    max_size=30,
)


def apply(ctx: RuntimeContext, ttl: float | None, operations: list[Any]) -> None:
    value = ctx.value_state("v", 0, ttl=ttl)
    items, fields = ctx.list_state("l", ttl=ttl), ctx.map_state("m", ttl=ttl)
    for what, key, data in operations:
        ctx.key = key
        if what == "value":
            value.value = data
        elif what == "append":
            items.append(data)
        elif what == "put":
            fields.put(str(data)[:2], data)
        elif what == "remove":
            fields.remove(str(data)[:2])
        else:
            for state in (value, items, fields):
                state.clear()


def read(ctx: RuntimeContext, ttl: float | None) -> list[Any]:
    out = []
    for key in "abc":
        ctx.key = key
        out.append(ctx.value_state("v", 0, ttl=ttl).value)
        out.append(ctx.list_state("l", ttl=ttl).get())
        out.append(list(ctx.map_state("m", ttl=ttl).items()))
    return out


@given(writes, st.sampled_from([None, 50.0]), st.booleans())
def test_a_snapshot_restores_everything_through_json(operations, ttl, before):
    ctx, backend, _ = make()
    apply(ctx, ttl, operations)
    snapshot = json.loads(json.dumps(backend.snapshot()))
    other, restored, _ = make()
    if before:  # restored before, or after, the step asks for its states
        apply(other, ttl, [("value", "z", 1)])
    restored.restore(snapshot)
    assert read(other, ttl) == read(ctx, ttl)
    other.key = "z"
    assert other.value_state("v", 0, ttl=ttl).value == 0


@given(writes)
def test_keys_can_be_split_over_subtasks(operations):
    ctx, backend, _ = make()
    apply(ctx, None, operations)
    parts = []
    for mine in ("a", "bc"):
        part, part_backend, _ = make()
        part_backend.restore(backend.snapshot(), owns=lambda key, mine=mine: key in mine)
        assert set(part_backend.keys()) <= set(mine)
        read(part, None)
        assert set(part_backend.keys()) <= set(mine)
        parts.append(set(part_backend.keys()))
    assert parts[0] | parts[1] == set(backend.keys())


def test_state_nobody_asked_for_stays_in_later_snapshots():
    ctx, backend, _ = make()
    ctx.key = "a"
    ctx.value_state("old").value = 1
    _, later, _ = make()
    later.restore(backend.snapshot())
    assert later.snapshot() == backend.snapshot()
    assert list(later.keys()) == ["a"]


def test_a_snapshot_does_not_change_with_the_state():
    ctx, backend, _ = make()
    ctx.list_state("l").append(1)
    snapshot = backend.snapshot()
    ctx.list_state("l").append(2)
    assert snapshot["states"]["l"]["entries"] == [[None, [1]]]


@pytest.mark.parametrize(("old", "new"), [(None, 10.0), (10.0, None)])
def test_a_ttl_can_be_added_or_taken_away_between_runs(old, new):
    ctx, backend, _ = make()
    apply(ctx, old, [("value", "a", 1), ("append", "a", 2), ("put", "a", 3)])
    other, restored, other_clock = make()
    restored.restore(backend.snapshot())
    assert read(other, new)[:3] == [1, [2], [("3", 3)]]
    other_clock.now += 10
    assert read(other, new)[0] == (0 if new else 1)


def test_misuse_is_refused_with_the_step_named():
    ctx, backend, _ = make()
    ctx.value_state("n")
    with pytest.raises(GraphError, match="'count' asks for list state 'n'"):
        ctx.list_state("n")
    with pytest.raises(GraphError, match="ttl=5"):
        ctx.value_state("n", ttl=5)
    with pytest.raises(GraphError, match="ttl > 0"):
        ctx.map_state("m", ttl=0)
    assert ctx.value_state("n") is ctx.value_state("n")
    with pytest.raises(JobError, match="version 9"):
        backend.restore({"version": 9, "states": {}})
    snapshot = backend.snapshot()
    other, restored, _ = make()
    restored.restore(snapshot)
    with pytest.raises(JobError, match="saved as value state and is now list state"):
        other.list_state("n")


@pytest.mark.parametrize("ttl", [None, 5.0])
def test_unhashable_keys_name_the_step(ttl):
    ctx, _, _ = make()
    states = (
        ctx.value_state("v", ttl=ttl),
        ctx.list_state("l", ttl=ttl),
        ctx.map_state("m", ttl=ttl),
    )
    ctx.key = {"a": 1}
    calls = [
        lambda: states[0].value,
        lambda: setattr(states[0], "value", 1),
        lambda: states[1].append(1),
        states[1].get,
        lambda: states[2].get("x"),
        lambda: states[2].put("x", 1),
    ]
    for call in calls:
        with pytest.raises(GraphError, match=r"'count': the key .* of type 'dict' is not hashable"):
            call()
