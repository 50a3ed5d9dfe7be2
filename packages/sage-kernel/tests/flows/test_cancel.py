"""Cancel, pause and the bound on what is pulled ahead."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from pathlib import Path

import pytest

from sage.api import LocalEnvironment, MapFunction
from sage.common.errors import JobCanceledError, TaskFailedError
from sage.kernel.testing import SETTINGS


def endless():
    n = 0
    while True:
        yield n
        n += 1


async def aint(x):
    await asyncio.sleep(0)
    return x


class Vector(MapFunction):
    def execute_batch(self, items):
        return items


def same(x):
    return x


@pytest.mark.parametrize(
    "declare",
    [
        lambda s: s.map(same),
        lambda s: s.map(same, parallelism=3),
        lambda s: s.map(aint),
        lambda s: s.map(Vector),
        lambda s: s.map(same, executor="process", parallelism=2),
        lambda s: s.iterate(lambda b: b.map(same), until=lambda x: True, max_iterations=2),
        lambda s: s.key_by(lambda x: x % 5).reduce(lambda a, b: b, parallelism=2),
    ],
    ids=["sync", "parallel", "async", "vector", "process", "loop", "keyed"],
)
def test_cancel_stops_pulling(run_flow, declare):
    enough, pulled = threading.Event(), []

    def source():
        for n in endless():
            pulled.append(n)
            yield n

    def build(e, out):
        def take(x):
            out.append(x)
            if len(out) == 50:
                enough.set()

        declare(e.from_source(source)).sink(take)

    run = run_flow.start(build)
    assert enough.wait(20)
    assert run.job.cancel(timeout=20)
    after = len(pulled)
    assert run.job.status == "CANCELED"
    assert run.job.wait() is run.job
    with pytest.raises(JobCanceledError):
        run.job.result()
    assert len(pulled) == after
    assert run.job.cancel()


def test_cancel_from_inside_a_step(run_flow):
    jobs, ready = [], threading.Event()

    def stop(x):
        if x == 20:
            assert ready.wait(20)
            jobs[0].cancel()
        return x

    run = run_flow.start(lambda e, out: e.from_source(endless).map(stop).sink(out.append))
    jobs.append(run.job)
    ready.set()
    assert run.job.wait(20).status == "CANCELED"


@pytest.mark.parametrize("parallelism", [1, 2])
def test_cancel_while_a_retry_waits(run_flow, parallelism):
    failing = threading.Event()

    def fail(x):
        failing.set()
        raise ValueError

    run = run_flow.start(
        lambda e, out: (
            e.from_source([1])
            .map(fail, retry={"backoff": 3600, "max_backoff": 3600}, parallelism=parallelism)
            .sink(out.append)
        )
    )
    assert failing.wait(20)
    assert run.job.cancel(timeout=20)
    assert run.job.status == "CANCELED"


def test_cancel_while_an_async_retry_waits_and_calls_are_in_flight(run_flow):
    started, ended = threading.Event(), []

    async def hang(x):
        started.set()
        if x == 0:
            raise ValueError
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(x)

    run = run_flow.start(
        lambda e, out: (
            e.from_source(range(5))
            .map(hang, retry={"backoff": 3600, "max_backoff": 3600})
            .sink(out.append)
        )
    )
    assert started.wait(20)
    assert run.job.cancel(timeout=20)
    assert run.job.status == "CANCELED"


@pytest.mark.parametrize("how", ["cancel", "fail"])
def test_an_async_source_that_waits_for_ever_is_given_up(run_flow, how):
    reached, closed = threading.Event(), []

    async def source():
        yield 1
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(True)
        yield 2

    def take(x):
        if how == "fail":
            raise ValueError

    run = run_flow.start(lambda e, out: e.from_source(source).map(aint).sink(take))
    if how == "cancel":
        assert reached.wait(20)
        assert run.job.cancel(timeout=20)
        assert run.job.status == "CANCELED"
    else:
        with pytest.raises(TaskFailedError):
            run.job.wait(20)
    assert closed == [True] * reached.is_set()


def test_cancel_while_everything_is_full(run_flow):
    """The sink holds; all channels fill; the producers sleep."""
    taken, release = threading.Event(), threading.Event()

    def hold(x):
        taken.set()
        release.wait(20)

    run = run_flow.start(
        lambda e, out: e.from_source(endless).map(same, parallelism=2).map(aint).sink(hold)
    )
    assert taken.wait(20)
    run.job.cancel(wait=False)
    assert run.job.status == "CANCELING"
    release.set()
    assert run.job.cancel(timeout=20)


@pytest.mark.parametrize(
    ("declare", "width"),
    [
        (lambda s: s.map(same), 0),
        (lambda s: s.map(same, parallelism=2), 2),
        (lambda s: s.map(aint, concurrency=4), 4),
        (lambda s: s.flatmap(lambda x: [x]), 0),
        (lambda s: s.key_by(same).reduce(lambda a, b: b), 0),
    ],
    ids=["sync", "parallel", "async", "flatmap", "keyed"],
)
@pytest.mark.parametrize("capacity", [1, 2, 16])
def test_what_is_pulled_ahead_is_bounded(run_once, declare, width, capacity):
    """At most each channel's capacity, and what is being worked on."""
    pulled, release = [], threading.Event()
    stuck = threading.Event()

    def source():
        for n in range(100_000):
            pulled.append(n)
            yield n

    def build(e, out):
        def hold(x):
            stuck.set()
            assert release.wait(20)

        declare(e.from_source(source)).sink(hold)

    run = run_once.start(build, fusion=False, channel_capacity=capacity)
    assert stuck.wait(20)
    channels = [c for task in run.job._tasks for cs in task.outputs.values() for c in cs]
    bound = sum(c.limit for c in channels) + len(channels) * (1 + capacity // 2) + 5 * width + 2
    for _ in range(200):  # give the producers every chance to overrun
        threading.Event().wait(0.0005)
    ahead = len(pulled)
    run.job.cancel(wait=False)
    release.set()
    run.job.wait(20)
    assert ahead <= bound


def test_an_expansion_waits_for_its_reader(run_once):
    """One item that becomes a million does not fill the memory."""
    made, release, stuck = [], threading.Event(), threading.Event()

    def expand(x):
        for n in range(1_000_000):
            made.append(n)
            yield n

    def hold(x):
        stuck.set()
        assert release.wait(20)

    def build(e, out):
        e.from_source([1]).map(aint).flatmap(expand).map(aint).sink(hold)

    run = run_once.start(build, channel_capacity=10)
    assert stuck.wait(20)
    for _ in range(100):
        threading.Event().wait(0.0005)
    ahead = len(made)
    run.job.cancel(wait=False)
    release.set()
    run.job.wait(20)
    assert ahead <= 100


def test_channels_are_bounded_in_bytes(run_once):
    stuck, release, pulled = threading.Event(), threading.Event(), []

    def source():
        for n in range(2000):
            pulled.append(n)
            yield bytes(100_000)

    def hold(x):
        if len(pulled) > 60:
            stuck.set()
            assert release.wait(20)

    run = run_once.start(
        lambda e, out: e.from_source(source).map(same).sink(hold),
        fusion=False,
        channel_capacity=4096,
        channel_bytes=2_000_000,
    )
    stuck.wait(5)
    for _ in range(100):
        threading.Event().wait(0.0005)
    limits = [c.limit for t in run.job._tasks for cs in t.outputs.values() for c in cs]
    run.job.cancel(wait=False)
    release.set()
    run.job.wait(20)
    assert all(limit <= 20 for limit in limits)


def hang(path):
    Path(path).write_text("here", encoding="utf-8")
    threading.Event().wait(60)


def test_cancel_ends_calls_in_worker_processes(run_once, tmp_path):
    path = tmp_path / "started"
    run = run_once.start(
        lambda e, out: (
            e.from_source([str(path)]).map(hang, executor="process", parallelism=1).sink(out.append)
        )
    )
    while not path.exists():
        threading.Event().wait(0.001)
    assert run.job.cancel(timeout=20)
    assert run.job.status == "CANCELED"
    assert run.out == []


def test_pause_and_resume(run_flow):
    seen, more = threading.Event(), threading.Event()

    def build(e, out):
        def take(x):
            out.append(x)
            (more if seen.is_set() else seen).set()

        e.from_source(endless).map(aint).sink(take)

    run = run_flow.start(build)
    assert seen.wait(20)
    run.job.pause()
    assert run.job.status == "PAUSED"
    run.job.resume()
    assert run.job.status == "RUNNING"
    more.clear()
    assert more.wait(20)
    assert run.job.cancel(timeout=20)
    assert [e["status"] for e in run.job.events()][:3] == ["RUNNING", "PAUSED", "RUNNING"]


def test_nothing_is_pulled_while_paused(run_once):
    first, go = threading.Event(), threading.Event()
    pulled = []

    def source():
        for n in endless():
            pulled.append(n)
            yield n

    def wait_at_zero(x):
        if x == 0:
            first.set()
            assert go.wait(20)
        return x

    run = run_once.start(lambda e, out: e.from_source(source).map(wait_at_zero).sink(out.append))
    assert first.wait(20)
    run.job.pause()
    go.set()
    while run.out != [0]:
        threading.Event().wait(0.001)
    assert pulled == [0]
    run.job.cancel(timeout=20)


def test_canceled_jobs_may_be_paused_too(run_once):
    run = run_once.start(lambda e, out: e.from_source(endless).sink(lambda x: None))
    run.job.pause()
    assert run.job.cancel(timeout=20)
    assert run.job.status == "CANCELED"


def test_two_jobs_at_once_and_one_environment_twice():
    out = []
    env = LocalEnvironment("twice")
    env.from_source(range(200)).map(aint).map(same, parallelism=2).sink(out.append)
    other = LocalEnvironment("other")
    other.from_source(range(200)).map(aint).sink(out.append)
    jobs = [env.submit(), other.submit(), env.submit()]
    for job in jobs:
        job.wait(20)
    assert sorted(out) == sorted([*range(200)] * 3)
    assert len({job.id for job in jobs}) == 3


@pytest.mark.parametrize("setting", SETTINGS)
def test_nothing_complains_when_loops_are_collected(setting, recwarn):
    """asyncio warns about loops, tasks and transports that nobody closed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for failing in (False, True):
            env = LocalEnvironment("loops", SETTINGS[setting])

            async def work(x, failing=failing):
                await asyncio.sleep(0)
                if failing and x == 20:
                    raise ValueError
                return x

            env.from_source(range(50)).map(work).sink(lambda x: None)
            job = env.submit()
            try:
                job.wait(20)
            except TaskFailedError:
                assert failing
        gc.collect()
    assert not recwarn.list
