from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import GraphError


@given(st.lists(st.integers(), max_size=50), st.integers(1, 7))
def test_batches_are_consecutive_slices(new_rig, items, size):
    rig = new_rig()
    op = rig.make("batch", keyed=False, size=size)
    out = [batch for item in items for batch in rig.feed(None, item)]
    out += op.finish()
    assert out == [items[i : i + size] for i in range(0, len(items), size)]


def test_timeout_counts_from_the_first_item_of_a_batch(rig):
    op = rig.make("batch", keyed=False, size=10, timeout=2.0)
    assert op.next_time() is None
    rig.feed(None, 1)
    assert rig.advance(1.5) == []
    rig.feed(None, 2)
    assert rig.advance(0.5) == [[1, 2]]
    assert op.next_time() is None
    assert list(op.finish()) == []


def test_batches_of_keys_are_separate_and_flush_by_age(rig):
    op = rig.make("batch", size=2, timeout=5)
    rig.feed("a", 1)
    rig.now += 1
    rig.feed("b", 2)
    assert rig.feed("a", 3) == [[1, 3]]
    rig.feed("a", 4)
    assert op.next_time() == rig.now - 1 + 5 + 1
    assert rig.keyed(op.finish()) == [("b", [2]), ("a", [4])]


def test_a_full_batch_does_not_fire_again_at_its_deadline(rig):
    op = rig.make("batch", size=2, timeout=1)
    rig.feed("a", 1)
    assert rig.feed("a", 2) == [[1, 2]]
    assert op.next_time() is None
    rig.feed("a", 3)
    assert rig.advance(0.5) == []
    assert rig.advance(0.5) == [[3]]


def test_restored_batch_keeps_deadline_and_items(new_rig):
    rig = new_rig()
    saved = None
    op = rig.make("batch", size=3, timeout=4)
    rig.feed("a", 1)
    saved = op.snapshot()
    op = rig.make("batch", size=3, timeout=4)
    op.restore(saved)
    assert op.next_time() == rig.now + 4
    rig.feed("a", 2)
    assert rig.feed("a", 3) == [[1, 2, 3]]


def test_wrong_settings_and_keys_are_refused(rig):
    with pytest.raises(GraphError, match="batch size must be an int >= 1"):
        rig.make("batch", size=0)
    with pytest.raises(GraphError, match="batch timeout must be a number > 0"):
        rig.make("batch", size=2, timeout=-1)
    rig.make("batch", size=2)
    with pytest.raises(GraphError, match="not hashable"):
        rig.feed({}, 1)
