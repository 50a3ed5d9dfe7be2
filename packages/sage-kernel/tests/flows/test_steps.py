"""Every form a step may have, worker processes, vectorised steps, and what the metrics say."""

from __future__ import annotations

import asyncio
import functools
from typing import ClassVar

import pytest

from sage.api import FilterFunction, FlatMapFunction, MapFunction, SinkFunction, SourceFunction


class Times(MapFunction):
    def __init__(self, config=None):
        super().__init__(config)
        self.factor = (config or {"factor": 10})["factor"]

    def execute(self, x):
        return x * self.factor


class AsyncTimes(Times):
    async def execute(self, x):
        await asyncio.sleep(0)
        return x * self.factor


class Callable:
    def __call__(self, x):
        return x * 10


class AsyncCallable:
    async def __call__(self, x):
        return x * 10


class Vector(Times):
    sizes: ClassVar[list[int]] = []

    def execute_batch(self, items):
        self.sizes.append(len(items))
        return [x * self.factor for x in items]


class AsyncVector(MapFunction):
    async def execute_batch(self, items):
        await asyncio.sleep(0)
        return [x * 10 for x in items]


def ten_times(x):
    return x * 10


async def ten_times_later(x):
    return x * 10


def scaled(factor, x):
    return x * factor


FORMS = {
    "class": (Times,),
    "class and config": (Times, {"factor": 10}),
    "instance": (Times({"factor": 10}),),
    "async class": (AsyncTimes,),
    "async instance": (AsyncTimes(),),
    "function": (ten_times,),
    "async function": (ten_times_later,),
    "lambda": (lambda x: x * 10,),
    "partial": (functools.partial(scaled, 10),),
    "bound method": (Times().execute,),
    "callable object": (Callable(),),
    "async callable object": (AsyncCallable(),),
    "builtin": ((10).__mul__,),
    "vector": (Vector,),
    "async vector": (AsyncVector,),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_map(run_flow, form):
    run = run_flow(lambda e, out: e.from_source(range(300)).map(*FORMS[form]).sink(out.append))
    assert run.out == [x * 10 for x in range(300)]


@pytest.mark.parametrize("form", ["class", "function", "partial"])
@pytest.mark.parametrize("parallelism", [1, 2])
def test_worker_processes(run_once, form, parallelism):
    run = run_once(
        lambda e, out: (
            e.from_source(range(500))
            .map(*FORMS[form], executor="process", parallelism=parallelism)
            .sink(out.append)
        )
    )
    assert run.out == [x * 10 for x in range(500)]


class Odd(FilterFunction):
    def execute(self, x):
        return x % 2


class Twice(FlatMapFunction):
    def execute(self, x):
        self.collect(x)
        yield -x


class Numbers(SourceFunction):
    def __init__(self, config):
        super().__init__(config)

    def run(self):
        yield from range(self.config["n"])


class Into(SinkFunction):
    def __init__(self, out):
        super().__init__()
        self.out = out

    def execute(self, x):
        self.out.append(x)


async def pairs(x):
    yield x
    await asyncio.sleep(0)
    yield -x


def test_other_contracts(run_flow):
    def build(e, out):
        e.from_source(Numbers, {"n": 6}).filter(Odd).flatmap(Twice).sink(Into, out)

    assert run_flow(build).out == [1, -1, 3, -3, 5, -5]


def test_async_generators(run_flow):
    run = run_flow(lambda e, out: e.from_source(range(1, 4)).flatmap(pairs).sink(out.append))
    assert run.out == [1, -1, 2, -2, 3, -3]


def test_sync_generator_functions(run_flow):
    def expand(x):
        yield from range(x)

    run = run_flow(lambda e, out: e.from_source(range(4)).flatmap(expand).sink(out.append))
    assert run.out == [0, 0, 1, 0, 1, 2]


def test_registered_names(run_flow, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    pytest.importorskip("sage.lib")

    def build(e, out):
        source = e.from_source("FileSource", {"file_path": str(path)})
        source.map(lambda x: getattr(x, "text", x)).sink(out.append)

    assert [str(x) for x in run_flow(build).out] == ["one", "two"]


def test_batch_size_is_a_limit(run_flow):
    Vector.sizes = []
    run = run_flow(
        lambda e, out: e.from_source(range(200)).map(Vector, batch_size=8).sink(out.append)
    )
    assert run.out == [x * 10 for x in range(200)]
    assert max(Vector.sizes) <= 8
    assert sum(Vector.sizes) == 200


def test_linger_fills_batches(run_once):
    Vector.sizes = []
    run_once(
        lambda e, out: (
            e.from_source(range(64)).map(Vector, batch_size=64, linger=20.0).sink(out.append)
        )
    )
    assert Vector.sizes == [64]


def test_counters_of_all_workers_are_added(run_flow):
    class Counting(MapFunction):
        def execute(self, x):
            self.ctx.count("seen")
            return x

    run = run_flow(
        lambda e, out: (
            e.from_source(range(300)).map(Counting, parallelism=3, name="c").sink(out.append)
        )
    )
    step = run.job.metrics()["operators"]["c"]
    assert "300" in str(step.get("seen", step.get("counters")))


def test_metrics_add_up_and_read_as_prometheus_text(run_flow):
    run = run_flow(
        lambda e, out: (
            e.from_source(range(100), name="numbers")
            .map(lambda x: 1 // (x % 10), on_error="skip", name="divide")
            .sink(out.append, name="end")
        )
    )
    steps = run.job.metrics()["operators"]
    assert (steps["divide"]["in"], steps["divide"]["out"], steps["divide"]["errors"]) == (
        100,
        90,
        10,
    )
    for step in steps.values():
        assert step["queue"] == 0
        assert 0 <= step["busy"] <= 1
        assert 0.99 < step["busy"] + step["idle"] + step["backpressured"] < 1.01
    lines = [x for x in run.job.prometheus().splitlines() if x and not x.startswith("#")]
    for line in lines:
        float(line.rsplit(" ", 1)[1])
    assert any('"divide"' in line for line in lines)
