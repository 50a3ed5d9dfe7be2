"""Item ids in errors and ``ctx.record_id`` wherever the item has been; order; no barriers."""

from __future__ import annotations

import asyncio
import threading

import pytest

from sage.api import MapFunction


class Boom(Exception):
    pass


def fail_at(bad):
    def check(x):
        if x == bad:
            raise Boom
        return x

    return check


async def later(x):
    await asyncio.sleep(0)
    return x


class Ids(MapFunction):
    def execute(self, x):
        return x, self.ctx.record_id


class AsyncIds(MapFunction):
    async def execute(self, x):
        return x, self.ctx.record_id


PATHS = {
    "straight": lambda s: s.map(lambda x: x),
    "filter": lambda s: s.filter(lambda x: x % 2 == 0),
    "parallel": lambda s: s.map(lambda x: x, parallelism=3),
    "async": lambda s: s.map(later),
    "async filter": lambda s: s.map(later).filter(lambda x: x % 2 == 0).map(later),
    "parallel filter": lambda s: s.filter(lambda x: x > 3, parallelism=2).map(later),
    "split": None,
}


@pytest.mark.parametrize("size", [60, 3000])
@pytest.mark.parametrize("path", PATHS)
def test_the_id_is_the_position_at_the_source(run_flow, path, size):
    bad = size - 10

    def build(e, out):
        numbers = e.from_source(range(size), uid="src")
        if path == "split":
            even, odd = numbers.split(lambda x: x % 2 == 0)
            odd.discard()
        else:
            even = PATHS[path](numbers)
        even.map(fail_at(bad), name="check").sink(out.append)

    run = run_flow.failing(build)
    assert (run.error.operator, run.error.item_id) == ("check", f"src:{bad}")


def test_expansions_number_their_outputs(run_flow):
    def build(e, out):
        s = e.from_source(range(5), uid="src").flatmap(lambda x: [(x, i) for i in range(3)])
        s.map(later).map(fail_at((3, 2)), name="check").sink(out.append)

    run = run_flow.failing(build)
    assert run.error.item_id == "src:3/2"


@pytest.mark.parametrize("cls", [Ids, AsyncIds])
@pytest.mark.parametrize("parallelism", [None, 3])
def test_record_id(run_flow, cls, parallelism):
    def build(e, out):
        s = e.from_source(range(40), uid="src").filter(lambda x: x % 4 == 1)
        s.map(cls, parallelism=parallelism).sink(out.append)

    assert run_flow(build).out == [(x, f"src:{x}") for x in range(1, 40, 4)]


def test_record_id_outside_of_a_call_is_none(run_once):
    seen = []

    class Opens(MapFunction):
        def open(self, ctx):
            seen.append(ctx.record_id)

        def execute(self, x):
            return x

    run_once(lambda e, out: e.from_source([1]).map(Opens).sink(out.append))
    assert seen == [None]


def test_keys_keep_their_order_in_subtasks(run_flow):
    class Note(MapFunction):
        def execute(self, x):
            return self.ctx.key, self.ctx.subtask, x

    def build(e, out):
        keyed = e.from_source(range(600)).key_by(lambda x: f"k{x % 11}")
        keyed.map(Note, parallelism=3).sink(out.append)

    out = run_flow(build).out
    places = {}
    for key, subtask, _ in out:
        places.setdefault(key, set()).add(subtask)
    assert all(len(subtasks) == 1 for subtasks in places.values())
    assert len({s for subtasks in places.values() for s in subtasks}) == 3
    for key in places:
        items = [x for k, _, x in out if k == key]
        assert items == sorted(items)


def test_a_successor_starts_while_a_sibling_still_runs(run_flow):
    """No barrier: the slow branch ends only after the successor of the fast one ran."""
    successor = threading.Event()

    def slow(x):
        assert successor.wait(20)
        return "slow"

    async def slow_async(x):
        while not successor.is_set():  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(0.001)
        return "slow"

    for sibling, options in ((slow_async, {}), (slow, {"parallelism": 2})):
        successor.clear()

        def build(e, out, sibling=sibling, options=options):
            def after(x):
                successor.set()
                return "fast"

            s = e.from_source([1])
            a = s.map(sibling, **options)
            b = s.map(later).map(after)
            a.union(b).sink(out.append)

        run = run_flow(build, channel_capacity=64)  # of 1, item and branch would be one
        assert sorted(run.out) == ["fast", "slow"]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", ["async", "parallel"])
def test_order_of_results(run_flow, ordered, kind):
    """Item 0 waits until all others ran: first in order, last as they come."""
    n, ran, all_ran = 4, [], threading.Event()

    def note(x):
        ran.append(x)
        if len(ran) == n - 1:
            all_ran.set()
        return x

    def work(x):
        if x == 0:
            assert all_ran.wait(20)
            return x
        return note(x)

    async def work_async(x):
        if x == 0:
            while not all_ran.is_set():  # noqa: ASYNC110 - for all settings
                await asyncio.sleep(0.001)
            return x
        return note(x)

    def build(e, out):
        s = e.from_source(range(n))
        step, name = (work_async, "concurrency") if kind == "async" else (work, "parallelism")
        s.map(step, ordered=ordered, **{name: n}).sink(out.append)

    out = run_flow(build, channel_capacity=64).out
    assert sorted(out) == list(range(n))
    if ordered:
        assert out == list(range(n))
    elif kind == "async":
        assert out[-1] == 0
