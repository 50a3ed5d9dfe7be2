from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.api.functions import ProcessFunction
from sage.common.errors import GraphError
from sage.kernel.operators import Timers


class CountThenReport(ProcessFunction[Any, Any]):
    """Counts per key and reports ten seconds after the first item."""

    def process(self, item: Any) -> Iterable[Any]:
        count = self.ctx.value_state("count", 0)
        count.value += 1
        if count.value == 1:
            self.ctx.register_timer(item + 10)
        yield f"{self.ctx.key}:{count.value}"

    def on_timer(self, timestamp: float) -> Iterable[Any]:
        count = self.ctx.value_state("count", 0)
        yield (self.ctx.key, count.value, timestamp)
        count.clear()


def make(rig: Any, function: Any) -> Any:
    function.ctx = rig.ctx
    return rig.make("process", function)


def test_state_and_timers_are_per_key(rig):
    op = make(rig, CountThenReport())
    assert rig.feed("a", 1000) == ["a:1"]
    assert rig.feed("a", 1001) == ["a:2"]
    assert rig.feed("b", 1002) == ["b:1"]
    assert op.next_time() == 1010
    rig.now = 1010
    assert rig.keyed(op.on_time(rig.now)) == [("a", ("a", 2, 1010.0))]
    assert rig.feed("a", 1011) == ["a:1"]
    assert rig.keyed(op.finish()) == [("b", ("b", 1, 1012.0)), ("a", ("a", 1, 1021.0))]


def test_timers_registered_at_the_end_do_not_keep_the_stream_alive(rig):
    class Again(ProcessFunction[Any, Any]):
        def process(self, item: Any) -> None:
            self.ctx.register_timer(item)

        def on_timer(self, timestamp: float) -> list[float]:
            self.ctx.register_timer(timestamp + 1)
            return [timestamp]

    op = make(rig, Again())
    rig.feed("k", 2000)
    rig.feed("k", 1500)
    assert list(op.finish()) == [1500.0, 2000.0]
    assert list(op.finish()) == []
    assert op.next_time() is None


def test_a_periodic_timer_catches_up_while_running(rig):
    class Tick(ProcessFunction[Any, Any]):
        def process(self, item: Any) -> None:
            self.ctx.register_timer(1001)

        def on_timer(self, timestamp: float) -> list[float]:
            if timestamp < 1003:
                self.ctx.register_timer(timestamp + 1)
            return [timestamp]

    make(rig, Tick())
    rig.feed("k", 0)
    assert rig.advance(10) == [1001.0, 1002.0, 1003.0]


def test_a_failing_call_emits_nothing_and_the_other_timers_still_fire(rig):
    class Fails(ProcessFunction[Any, Any]):
        def process(self, item: Any) -> Iterable[Any]:
            self.ctx.register_timer(item)
            yield item
            if item == 7:
                raise ValueError("seven")

        def on_timer(self, timestamp: float) -> list[float]:
            if timestamp == 5:
                raise ValueError("five")
            return [timestamp]

    op = make(rig, Fails())
    assert rig.feed("a", 5) == [5]
    assert rig.feed("a", 6) == [6]
    with pytest.raises(ValueError, match="seven"):
        op.process(7)
    with pytest.raises(ValueError, match="five"):
        list(op.finish())
    assert list(op.finish()) == [6.0, 7.0]


def test_restored_timers_fire(new_rig):
    rig = new_rig()
    op = make(rig, CountThenReport())
    rig.feed("a", 1000)
    timers, values = op.snapshot(), rig.ctx._state.snapshot_parts("a test")
    rig = new_rig()
    op = make(rig, CountThenReport())
    op.restore(timers)
    rig.ctx._state.restore_parts(values)
    assert rig.advance(10) == [("a", 1, 1010.0)]


def test_unusable_functions_are_refused(rig):
    class Async(ProcessFunction[Any, Any]):
        async def process(self, item: Any) -> None:  # type: ignore[override]
            return None

    class Text(ProcessFunction[Any, Any]):
        def process(self, item: Any) -> Any:
            return "abc"

    with pytest.raises(GraphError, match="process of 'Async' is async"):
        make(rig, Async())
    with pytest.raises(GraphError, match="process needs a ProcessFunction, got 'function'"):
        rig.make("process", lambda x: x)
    make(rig, Text())
    with pytest.raises(TypeError, match="must yield its outputs"):
        rig.feed("k", 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=40))
def test_timers_are_ordered_and_without_duplicates(pairs):
    timers = Timers()
    for key, at in pairs:
        timers.register(key, at)
    popped = timers.pop_all()
    assert [at for _, at in popped] == sorted(at for _, at in set(pairs))
    assert set(popped) == set(pairs)
    assert len(timers) == 0


def test_a_timer_can_be_registered_again_after_it_fired():
    timers = Timers()
    timers.register("k", 1)
    timers.pop()
    timers.register("k", 1)
    assert len(timers) == 1


@pytest.mark.parametrize("at", [float("nan"), float("inf"), "soon", None])
def test_timers_need_a_finite_time(at):
    with pytest.raises(GraphError, match="unix seconds"):
        Timers().register("k", at)
