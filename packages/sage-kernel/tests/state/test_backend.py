from __future__ import annotations

import datetime as dt
import threading
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.api.context import RuntimeContext
from sage.common.errors import GraphError, JobError
from sage.kernel.operators.hashing import stable_hash
from sage.kernel.state import StateBackend
from sage.kernel.state.codec import StateDecodingError, StateEncodingError, encode
from sage.kernel.state.parts import GROUPS


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
def test_parts_restore_everything(operations, ttl, before):
    ctx, backend, _ = make()
    apply(ctx, ttl, operations)
    parts = backend.snapshot_parts("a test")
    other, restored, _ = make()
    if before:  # restored before, or after, the step asks for its states
        apply(other, ttl, [("value", "z", 1)])
    restored.restore_parts(parts)
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
        part_backend.restore_parts(
            backend.snapshot_parts("a test"), owns=lambda key, mine=mine: key in mine
        )
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
    parts = backend.snapshot_parts("a test")
    later.restore_parts(parts)
    assert later.snapshot_parts("a test") == parts != {}
    assert list(later.keys()) == ["a"]


def test_parts_do_not_change_with_the_state():
    ctx, backend, _ = make()
    ctx.list_state("l").append(1)
    parts = backend.snapshot_parts("a test")
    ctx.list_state("l").append(2)
    other, restored, _ = make()
    restored.restore_parts(parts)
    assert other.list_state("l").get() == [1]


def test_only_groups_of_changed_keys_have_other_bytes(ttl):
    ctx, backend, clock = make()
    values, items = ctx.value_state("a/b", 0, ttl=ttl), ctx.list_state("l", ttl=ttl)
    for i in range(1000):
        ctx.key = f"user-{i}"
        values.value = i
        items.append(i)
    before = backend.snapshot_parts("a test")
    assert len(before) == 2 * GROUPS
    clock.now += 1
    assert backend.snapshot_parts("a test") == before
    ctx.key = "user-7"
    values.value += 1
    after = backend.snapshot_parts("a test")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"a/b/{stable_hash('user-7') % GROUPS:02}"}
    other, restored, _ = make()
    restored.restore_parts(after)
    assert restored.snapshot_parts("a test") == after
    read(other, ttl)
    assert restored.snapshot_parts("a test") == after
    other.value_state("a/b", 0, ttl=ttl)
    other.list_state("l", ttl=ttl)
    assert restored.snapshot_parts("a test") == after


def test_parts_of_several_subtasks_are_put_together():
    parts = {}
    for subtask, keys in enumerate(["ab", "c"]):
        ctx, backend, _ = make()
        for key in keys:
            ctx.key = key
            ctx.value_state("n").value = key * 2
        for name, data in backend.snapshot_parts("a test").items():
            parts[f"{subtask}/{name}"] = data
    ctx, restored, _ = make()
    restored.restore_parts(parts)
    assert set(restored.keys()) == {"a", "b", "c"}
    ctx.key = "c"
    assert ctx.value_state("n").value == "cc"


@pytest.mark.parametrize("key", [(1, "x"), None, 2.5, dt.date(2024, 1, 1), (Decimal(1), 2**70)])
def test_keys_of_any_type_that_can_be_stored(key):
    ctx, backend, _ = make()
    ctx.key = key
    ctx.map_state("m").put(("f", 1), {2})
    other, restored, _ = make()
    restored.restore_parts(backend.snapshot_parts("a test"))
    other.key = key
    assert list(other.map_state("m").items()) == [(("f", 1), {2})]
    assert list(restored.keys()) == [key]


def test_what_cannot_be_stored_is_named_with_state_and_key():
    ctx, backend, _ = make()
    state = ctx.value_state("seen")
    for key in ("a", "b"):
        ctx.key = key
        state.value = [1, threading.Lock() if key == "b" else 2]
    with pytest.raises(StateEncodingError, match=r"^step 'x', state 'seen', key 'b': value\[1\] "):
        backend.snapshot_parts("step 'x'")
    ctx, backend, _ = make()
    ctx.key = object()
    ctx.value_state("seen").value = 1
    with pytest.raises(StateEncodingError, match=r"^step 'x', state 'seen', the key <object"):
        backend.snapshot_parts("step 'x'")


def test_parts_that_are_damaged_or_do_not_fit_are_refused():
    ctx, backend, _ = make()
    ctx.value_state("n").value = 1
    ((name, data),) = backend.snapshot_parts("a test").items()
    _, restored, _ = make()
    with pytest.raises(StateDecodingError, match=f"'count'.*{name}"):
        restored.restore_parts({name: data[:-1]})
    with pytest.raises(JobError, match="version 9"):
        restored.restore_parts({name: encode([9, "n", "value", None, [], []], "a test")})
    other = encode([1, "n", "list", None, [], []], "a test")
    with pytest.raises(JobError, match="different programs"):
        restored.restore_parts({"0": data, "1": other})


@pytest.mark.parametrize(("old", "new"), [(None, 10.0), (10.0, None)])
def test_a_ttl_can_be_added_or_taken_away_between_runs(old, new):
    ctx, backend, _ = make()
    apply(ctx, old, [("value", "a", 1), ("append", "a", 2), ("put", "a", 3)])
    other, restored, other_clock = make()
    restored.restore_parts(backend.snapshot_parts("a test"))
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
    ctx.value_state("n").value = 1
    other, restored, _ = make()
    restored.restore_parts(backend.snapshot_parts("a test"))
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
