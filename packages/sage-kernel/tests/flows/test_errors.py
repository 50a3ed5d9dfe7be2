"""Error policies in every kind of task: nothing good is lost and nothing runs twice."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from sage.api import FlatMapFunction, MapFunction, SourceFunction
from sage.common.errors import StepTimeoutError, TaskFailedError

N, BAD = 60, {7, 30, 31, 59}


class Boom(Exception):
    pass


class Calls:
    """Counts calls per item, from any thread."""

    def __init__(self, bad=BAD, attempts=10**9):
        self.seen = Counter()
        self.bad = bad
        self.attempts = attempts
        self.lock = threading.Lock()

    def __call__(self, x):
        with self.lock:
            self.seen[x] += 1
            times = self.seen[x]
        if x in self.bad and times <= self.attempts:
            raise Boom(x)
        return x + 1000


class Vector(MapFunction):
    """``execute_batch`` is pure, so a failed batch is computed again item by item."""

    calls: Calls

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def execute_batch(self, items):
        for x in items:
            if x in self.calls.bad:
                raise Boom(x)
        return [self.calls(x) for x in items]


def step(kind, calls):
    """(function, options) of a map that fails in a task of this kind."""

    async def later(x):
        await asyncio.sleep(0)
        return calls(x)

    return {
        "sync": (calls, {}),
        "parallel": (calls, {"parallelism": 3}),
        "async": (later, {"concurrency": 5}),
        "vector": (Vector(calls), {"batch_size": 8}),
    }[kind]


def picky(x):
    """For worker processes: importable, no counting."""
    if x in BAD:
        raise Boom(x)
    return x + 1000


KINDS = ["sync", "parallel", "async", "vector"]
GOOD = [x + 1000 for x in range(N) if x not in BAD]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("linear", [True, False])
def test_fail(run_flow, kind, linear):
    calls = Calls()
    function, options = step(kind, calls)

    def build(e, out):
        s = e.from_source(range(N), uid="n").map(lambda x: x).map(function, name="bad", **options)
        s.map(lambda x: x).sink(out.append)
        if not linear:
            s.filter(lambda x: x % 2).sink(lambda x: None)

    run = run_flow.failing(build)
    assert isinstance(run.error, TaskFailedError)
    assert (run.error.operator, run.error.item_id, run.error.item) == ("bad", "n:7", "7")
    assert isinstance(run.error.__cause__, Boom)
    assert "Boom: 7" in str(run.error)
    assert "test_errors.py" in str(run.error)
    assert run.out == [x + 1000 for x in range(7)]
    assert run.job.status == "FAILED"
    if kind != "vector":
        assert set(calls.seen.values()) == {1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("linear", [True, False])
def test_skip(run_flow, kind, linear):
    calls, side = Calls(), []
    function, options = step(kind, calls)

    def build(e, out):
        s = (
            e.from_source(range(N))
            .map(lambda x: x)
            .map(function, on_error="skip", name="bad", **options)
        )
        s.map(lambda x: x).sink(out.append)
        if not linear:
            s.sink(side.append)

    run = run_flow(build)
    assert run.out == GOOD
    assert linear or side == GOOD
    assert kind == "vector" or set(calls.seen.values()) == {1}
    numbers = run.job.metrics()["operators"]["bad"]
    assert (numbers["in"], numbers["out"], numbers["lost"]) == (N, N - len(BAD), len(BAD))
    assert numbers["errors"] == len(BAD)


@pytest.mark.parametrize("kind", KINDS)
def test_dead_letter(run_flow, kind):
    function, options = step(kind, Calls())
    letters = []

    def build(e, out):
        s = e.from_source(range(N), uid="n").map(function, name="bad", **options)
        s.dead_letters().sink(letters.append)
        s.sink(out.append)

    run = run_flow(build)
    assert run.out == GOOD
    for found in (letters, run.job.dead_letters()):
        assert sorted(d["item_id"] for d in found) == sorted(f"n:{x}" for x in BAD)
        assert all(d["operator"] == "bad" for d in found)
    assert run.job.metrics()["operators"]["bad"]["dead_letters"] == len(BAD)


@pytest.mark.parametrize("kind", KINDS)
def test_fallback(run_flow, kind):
    function, options = step(kind, Calls())
    run = run_flow(
        lambda e, out: (
            e.from_source(range(N))
            .map(function, on_error=lambda x: ("fallback", x), **options)
            .sink(out.append)
        )
    )
    assert run.out == [("fallback", x) if x in BAD else x + 1000 for x in range(N)]


@pytest.mark.parametrize("kind", ["sync", "parallel", "async"])
@pytest.mark.parametrize("linear", [True, False])
def test_retry_repeats_only_the_failing_call(run_flow, kind, linear):
    calls, before = Calls(attempts=2), Calls(bad=())
    function, options = step(kind, calls)

    def build(e, out):
        s = e.from_source(range(N)).map(before).map(lambda x: x - 1000)
        s = s.map(function, retry={"max_attempts": 3, "backoff": 0.0001}, name="bad", **options)
        s.sink(out.append)
        if not linear:
            s.sink(lambda x: None)

    run = run_flow(build)
    assert run.out == [x + 1000 for x in range(N)]
    assert calls.seen == {x: 3 if x in BAD else 1 for x in range(N)}
    assert set(before.seen.values()) == {1}
    assert run.job.metrics()["operators"]["bad"]["retries"] == 2 * len(BAD)


@pytest.mark.parametrize("kind", ["sync", "parallel", "async"])
def test_retry_only_what_it_lists(run_flow, kind):
    calls = Calls(bad={3})
    function, options = step(kind, calls)
    retry = {"max_attempts": 5, "backoff": 0.0001, "on": KeyError}
    run = run_flow.failing(
        lambda e, out: (
            e.from_source(range(9)).map(function, retry=retry, **options).sink(out.append)
        )
    )
    assert isinstance(run.error.__cause__, Boom)
    assert calls.seen[3] == 1


def test_retry_after_is_respected(run_once):
    waits = []

    class Busy(Exception):
        retry_after = 0.03

    def busy(x):
        if len(waits) < 1:
            waits.append(x)
            raise Busy
        return x

    run = run_once.start(
        lambda e, out: (
            e.from_source([1]).map(busy, retry={"backoff": 0, "jitter": 0}).sink(out.append)
        )
    )
    slept, sleep = [], run.job.sleep
    run.job.sleep = lambda seconds: (slept.append(seconds), sleep(seconds))[1]
    run.job.wait(20)
    assert run.out == [1]
    assert slept in ([], [0.03])  # [] only if the job was quicker than this thread


@pytest.mark.parametrize("policy", ["fail", "skip", "dead_letter"])
def test_worker_processes(run_once, policy):
    def build(e, out):
        s = e.from_source(range(N), uid="n")
        s.map(picky, executor="process", parallelism=2, on_error=policy, name="bad").sink(
            out.append
        )

    run = run_once.failing(build)
    if policy == "fail":
        assert (run.error.operator, run.error.item_id) == ("bad", "n:7")
        assert run.out == [x + 1000 for x in range(7)]
    else:
        assert run.out == GOOD


@pytest.mark.parametrize("policy", ["fail", "skip"])
@pytest.mark.parametrize(
    "declare",
    [
        lambda s, f, p: s.filter(f, name="bad", on_error=p),
        lambda s, f, p: s.flatmap(lambda x: [f(x)], name="bad", on_error=p),
        lambda s, f, p: s.key_by(f, name="bad", on_error=p).reduce(lambda a, b: b),
        lambda s, f, p: s.key_by(lambda x: 0).reduce(lambda a, x: f(x), name="bad", on_error=p),
        lambda s, f, p: s.route(lambda x: f(x) and "a", name="bad", on_error=p)["a"],
        lambda s, f, p: s.fallback(f, f, name="bad", on_error=p),
        lambda s, f, p: s.window(lambda xs: f(xs[0]), count=1, name="bad", on_error=p),
    ],
    ids=["filter", "flatmap", "key_by", "reduce", "route", "fallback", "window"],
)
def test_every_operator_has_policies(run_flow, declare, policy):
    bad = {5, 12}

    def build(e, out):
        declare(e.from_source(range(1, 21), uid="n"), Calls(bad), policy).sink(out.append)

    run = run_flow.failing(build)
    first = {x % 1000 for x in run.out}
    if policy == "fail":
        assert (run.error.operator, run.error.item_id) == ("bad", "n:4")
        assert first == {1, 2, 3, 4}
    else:
        assert run.error is None
        assert first == set(range(1, 21)) - bad


@pytest.mark.parametrize("kind", ["sync", "parallel", "async"])
def test_sinks_fail_with_their_item(run_flow, kind):
    function, options = step(kind, Calls())
    run = run_flow.failing(
        lambda e, out: e.from_source(range(N), uid="n").sink(function, name="bad", **options)
    )
    assert (run.error.operator, run.error.item_id) == ("bad", "n:7")


def test_a_source_fails_at_its_item(run_flow):
    def source():
        yield from range(5)
        raise Boom

    run = run_flow.failing(
        lambda e, out: e.from_source(source, name="numbers").map(lambda x: x).sink(out.append)
    )
    assert run.error.operator == "numbers"
    assert isinstance(run.error.__cause__, Boom)
    assert run.out == list(range(5))


def test_a_failing_generator_keeps_what_it_gave(run_flow):
    def expand(x):
        yield x, 0
        if x == 3:
            raise Boom
        yield x, 1

    run = run_flow.failing(lambda e, out: e.from_source(range(9)).flatmap(expand).sink(out.append))
    assert run.out == [(x, i) for x in range(4) for i in range(2)][:7]
    run = run_flow(
        lambda e, out: e.from_source(range(5)).flatmap(expand, on_error="skip").sink(out.append)
    )
    assert [x for x, i in run.out if i == 1] == [0, 1, 2, 4]


class Cycle(MapFunction):
    """Notes its life cycle; may fail in any part of it."""

    def __init__(self, log, fails):
        super().__init__()
        self.log = log
        self.fails = fails

    def open(self, ctx):
        self.log.append("open")
        self._maybe("open")

    def execute(self, x):
        self.log.append("execute")
        self._maybe("execute")
        return x

    def close(self):
        self.log.append("close")
        self._maybe("close")

    def _maybe(self, part):
        if part in self.fails:
            raise Boom(part)


class AsyncCycle(Cycle):
    async def open(self, ctx):
        super().open(ctx)

    async def execute(self, x):
        return super().execute(x)

    async def close(self):
        super().close()


@pytest.mark.parametrize("cls", [Cycle, AsyncCycle])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("fails", ["open", "execute", "close", "execute close", ""])
def test_life_cycle(run_flow, cls, shared, fails):
    log = []

    def build(e, out):
        s = e.from_source([1, 2])
        s = s.map(cls(log, fails), name="it") if shared else s.map(cls, log, fails, name="it")
        s.sink(out.append)

    run = run_flow.failing(build)
    expected = {
        "open": ["open"],
        "execute": ["open", "execute", "close"],
        "execute close": ["open", "execute", "close"],
    }.get(fails, ["open", "execute", "execute", "close"])
    if cls is AsyncCycle and "execute" in fails:  # both items may have been under way
        log = [part for i, part in enumerate(log) if part != "execute" or "execute" not in log[:i]]
    assert log == expected
    if fails:
        assert run.error.operator == "it"
        assert str(run.error.__cause__) == fails.split()[0]
    else:
        assert run.error is None


def test_a_shared_instance_is_opened_once_and_closed_by_the_last(run_flow):
    log = []

    class Shared(MapFunction):
        def open(self, ctx):
            log.append("open")

        def execute(self, x):
            assert log == ["open"]
            return x

        def close(self):
            log.append("close")

    shared = Shared()
    run = run_flow(
        lambda e, out: (
            e.from_source(range(300)).map(shared, parallelism=4).map(shared).sink(out.append)
        )
    )
    assert run.out == list(range(300))
    assert log == ["open", "close"]


class Collecting(FlatMapFunction):
    def execute(self, x):
        self.collect(("collected", x))
        if x == 2:
            raise Boom
        return [("returned", x)]


def test_what_a_failed_call_collected_is_gone(run_flow):
    run = run_flow(
        lambda e, out: e.from_source(range(5)).flatmap(Collecting, on_error="skip").sink(out.append)
    )
    assert run.out == [(what, x) for x in (0, 1, 3, 4) for what in ("collected", "returned")]


@pytest.mark.parametrize("parallelism", [1, 3])
def test_timeouts(run_flow, parallelism):
    release = threading.Event()

    def hangs(x):
        if x == 3:
            release.wait(20)
        return x

    try:
        run = run_flow(
            lambda e, out: (
                e.from_source(range(6))
                .map(hangs, timeout=0.05, on_error="skip", parallelism=parallelism)
                .sink(out.append)
            )
        )
    finally:
        release.set()
    assert run.out == [0, 1, 2, 4, 5]


def test_async_timeout_and_a_timeout_error_of_the_function(run_flow):
    async def hangs(x):
        if x == 1:
            await asyncio.Event().wait()
        if x == 2:
            raise TimeoutError("mine")
        return x

    errors = []

    def build(e, out):
        s = e.from_source(range(4)).map(hangs, timeout=0.05)
        s.dead_letters().sink(lambda d: errors.append(d["error"]))
        s.sink(out.append)

    assert run_flow(build).out == [0, 3]
    kinds = {"mine" in str(error): str(error) for error in errors}
    assert StepTimeoutError.__name__ in kinds[False]
    assert StepTimeoutError.__name__ not in kinds[True]


def test_a_cancelled_error_of_the_function_is_an_error(run_flow):
    async def cancels(x):
        if x == 3:
            raise asyncio.CancelledError
        return x

    run = run_flow.failing(
        lambda e, out: e.from_source(range(9), uid="n").map(cancels).sink(out.append)
    )
    assert run.error.item_id == "n:3"
    assert run.out == [0, 1, 2]


def test_work_that_nobody_needs_any_more_is_not_done(run_once):
    """Upstream of a failed step, calls that wait in a channel are not made: they may cost money."""
    made, failed = [], threading.Event()

    def paid(x):
        made.append(x)
        if x == 20:
            assert failed.wait(20)
        return x

    def parse(x):
        if x == 5:
            raise Boom

    def build(e, out):
        e.from_source(range(5000)).map(paid).sink(parse)

    run = run_once.start(build, fusion=False)
    channels = [c for task in run.job._tasks for cs in task.outputs.values() for c in cs]
    while not any(channel.discard for channel in channels):
        threading.Event().wait(0.001)
    failed.set()
    with pytest.raises(TaskFailedError):
        run.job.wait(20)
    assert len(made) < 600


class Ends(SourceFunction):
    def open(self, ctx):
        raise Boom("source")

    def run(self):
        yield 1


def test_a_source_that_does_not_open(run_flow):
    run = run_flow.failing(lambda e, out: e.from_source(Ends, name="src").sink(out.append))
    assert run.error.operator == "src"
