"""The items of a source in chunks, and a loop that is ended from outside."""

from __future__ import annotations

import threading

import pytest

from sage.api import LocalEnvironment
from sage.kernel.runtime.chunks import CountedItems, RangeItems


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


@pytest.mark.parametrize("values", [range(20), range(10**30, 0, -(10**28))])
def test_a_range_goes_on_where_it_was_ended(values):
    items = RangeItems(values)
    assert list(items.take(3)) == list(values[:3])
    items.take(5)
    assert next(items.chunk) == values[3]
    items.stop()
    assert list(items.chunk) == []
    items.ended_after(1)
    items.stopped = False
    items.take(4)
    assert list(items.chunk) == list(values[4:8])


def test_counted_chunks():
    items = CountedItems(iter("abcdefg"))
    assert list(items.take(3)) == [(1, "a"), (2, "b"), (3, "c")]
    assert list(items.take(1)) == [(1, "d")]
    assert list(items.take(100)) == [(1, "e"), (2, "f"), (3, "g")]
    assert list(items.take(100)) == []


def test_stop_of_counted_chunks_pulls_nothing_more():
    source = iter(range(100))
    items = CountedItems(source)
    chunk = items.take(10)
    assert next(chunk) == (1, 0)
    items.stop()
    assert list(chunk) == []
    assert list(items.take(10)) == []
    assert next(source) == 1


@pytest.mark.parametrize("fan_out", [False, True])
@pytest.mark.parametrize("source", [lambda values: values, list, iter, lambda v: (x for x in v)])
@pytest.mark.parametrize("values", [range(100_000), range(300_000, 0, -3)])
def test_a_step_that_cancels_is_the_last_call(values, source, fan_out):
    items = source(values)
    env = LocalEnvironment("ranges")
    seen, counts, submitted = [], [], threading.Event()

    def step(x):
        seen.append(x)
        if len(seen) == 30_000:
            submitted.wait()
            counts.append(env.jobs[0].metrics()["operators"]["numbers"]["in"])
            env.stop()
        return x

    numbers = env.from_source(items, name="numbers").map(step)
    numbers.sink(lambda x: None)
    if fan_out:
        numbers.sink(lambda x: None)
    job = env.submit()
    submitted.set()
    job.wait()
    assert job.status == "CANCELED"
    assert seen == list(values[:30_000])
    if source is iter:
        assert next(items) == values[30_000]
    assert job.metrics()["operators"]["numbers"]["in"] == 30_000
    assert counts[0] <= 30_000


def test_the_failing_item_is_named():
    env = LocalEnvironment("ranges", config={"lineage": True})
    failing = env.from_source(range(50, 20_000, 5), uid="numbers")
    failing.map(lambda x: 1 / (x - 15_050)).sink(lambda x: None)
    with pytest.raises(Exception, match="numbers:3000"):
        env.submit().wait()


class Resets:
    """Starts anew whenever somebody asks for its iterator."""

    def __iter__(self):
        self.at = 0
        return self

    def __next__(self):
        self.at += 1
        if self.at > 100:
            raise StopIteration
        return self.at


class Raw:
    """Gives an iterator that is no iterable."""

    def __iter__(self):
        made = Resets()
        made.at = 0
        return Next(made.__next__)


class Next:
    def __init__(self, step):
        self.step = step

    def __next__(self):
        return self.step()


@pytest.mark.parametrize("source", [Resets, Raw])
def test_an_iterator_of_the_user_is_asked_for_once(source):
    env = LocalEnvironment("resets")
    seen = []

    def step(x):
        seen.append(x)
        return len(seen) > 100 and env.stop()

    env.from_source(source()).map(step).sink(lambda x: None)
    env.submit().wait()
    assert seen == list(range(1, 101))


SOURCES = [lambda values: values, list, lambda v: (x for x in v)]


@pytest.mark.parametrize("fan_out", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_pausing_ends_a_chunk_and_loses_nothing(source, fan_out):
    env = LocalEnvironment("paused")
    seen, submitted = [], threading.Event()

    def step(x):
        seen.append(x)
        if len(seen) in (40_000, 40_001, 50_000):
            submitted.wait()
            env.jobs[0].pause()
        return x

    out = []
    numbers = env.from_source(source(range(60_000)), name="numbers").map(step)
    numbers.sink(out.append)
    if fan_out:
        numbers.sink(lambda x: None)
    job = env.submit()
    submitted.set()
    for count in (40_000, 40_001, 50_000):
        while job.metrics()["operators"]["numbers"]["in"] < count or job.status != "PAUSED":
            pass
        assert len(seen) == count
        job.resume()
    job.wait()
    assert seen == out == list(range(60_000))


@pytest.mark.parametrize("source", SOURCES)
def test_a_job_that_is_paused_again_and_again(source):
    env = LocalEnvironment("paused")
    out = []
    env.from_source(source(range(200_000))).map(lambda x: x).sink(out.append)
    job = env.submit()
    while job.status in ("RUNNING", "PAUSED"):
        job.pause()
        job.metrics()
        job.resume()
    job.wait()
    assert out == list(range(200_000))


def test_a_quick_source_that_becomes_slow_is_saved_meanwhile(tmp_path):
    """Its chunks are thousands of items long by then."""
    config = {"store": tmp_path / "store", "durability": "process", "interval": 3600}
    env = LocalEnvironment("slow", {"fault_tolerance": config})
    slow, saved, pulled = threading.Event(), threading.Event(), []

    def numbers():
        yield from range(100_000)
        slow.set()
        for number in range(400):
            pulled.append(number)
            yield number
            saved.wait(0.1)

    env.from_source(numbers).sink(lambda x: None)
    job = env.submit()
    slow.wait()
    job.savepoint(tmp_path / "saved", timeout=60)
    assert len(pulled) < 400
    saved.set()
    job.wait()
