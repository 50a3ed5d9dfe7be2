"""A range as a source: chunks, and a loop that is ended from outside."""

from __future__ import annotations

import threading

import pytest

from sage.api import LocalEnvironment
from sage.kernel.runtime.ranges import RangeItems


@pytest.mark.parametrize(
    "values", [range(7), range(9, -5, -2), range(3, 3), range(10**30, 10**30 + 7, 3)]
)
def test_chunks(values):
    items = RangeItems(values)
    got = [next(items)] if values else []
    while chunk := items.take(2):
        assert list(chunk) == list(items.chunk)
        got += chunk
    assert got == list(values)
    assert list(items) == []


@pytest.mark.parametrize("values", [range(100), range(10**30, 0, -(10**28))])
def test_stop(values):
    items = RangeItems(values)
    items.take(10)
    assert next(items.chunk) == values[0]
    items.stop()
    assert list(items.chunk) == []
    items.take(10)
    assert list(items.chunk) == []


@pytest.mark.parametrize("fan_out", [False, True])
@pytest.mark.parametrize("values", [range(100_000), range(300_000, 0, -3)])
def test_a_step_that_cancels_is_the_last_call(values, fan_out):
    env = LocalEnvironment("ranges")
    seen, counts, submitted = [], [], threading.Event()

    def step(x):
        seen.append(x)
        if len(seen) == 30_000:
            submitted.wait()
            counts.append(env.jobs[0].metrics()["operators"]["numbers"]["in"])
            env.stop()
        return x

    numbers = env.from_source(values, name="numbers").map(step)
    numbers.sink(lambda x: None)
    if fan_out:
        numbers.sink(lambda x: None)
    job = env.submit()
    submitted.set()
    job.wait()
    assert job.status == "CANCELED"
    assert seen == list(values[:30_000])
    assert job.metrics()["operators"]["numbers"]["in"] == 30_000
    assert counts[0] <= 30_000


def test_the_failing_item_is_named():
    env = LocalEnvironment("ranges", config={"lineage": True})
    failing = env.from_source(range(50, 20_000, 5), uid="numbers")
    failing.map(lambda x: 1 / (x - 15_050)).sink(lambda x: None)
    with pytest.raises(Exception, match="numbers:3000"):
        env.submit().wait()
