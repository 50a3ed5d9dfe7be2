"""What is outside of a job and goes back with its checkpoints: services and functions."""

import asyncio
import threading
from typing import ClassVar

import pytest

from sage.api import BaseService, LocalEnvironment, MapFunction
from sage.api.calls import CALLER
from sage.common.errors import ConfigError, JobError


class Store(BaseService):
    """Keeps what it is given, and by whom, and in which epoch."""

    def __init__(self, entries, log):
        self.entries, self.log = entries, log

    def add(self, item):
        step = CALLER.get()
        self.entries.append((step.job_id, step.epoch, step.uid, step.record_id, item))

    def roll_back(self, run, checkpoint):
        self.log.append((run, checkpoint))
        self.entries[:] = [e for e in self.entries if e[0] != run or e[1] < checkpoint]


class Add(MapFunction):
    def execute(self, item):
        self.call_service("store", item, method="add")
        return item


def environment(tmp_path, entries, log, **settings):
    settings = {"interval": None, "durability": "process", "store": tmp_path / "runs", **settings}
    env = LocalEnvironment("outside").enable_checkpoints(**settings)
    return env.register_service("store", Store, entries, log)


def items_of(entries):
    return [entry[-1] for entry in entries]


@pytest.mark.parametrize("ledger", [True, False])
def test_a_service_knows_step_epoch_and_record_and_goes_back_with_a_restart(tmp_path, ledger):
    entries, log = [], []
    failed = threading.Event()

    def once(item):
        if item == 30 and not failed.is_set():
            failed.set()
            raise OSError("once")
        return item

    restart = {"strategy": "fixed_delay", "delay": 0}
    env = environment(tmp_path, entries, log, every=10, restart=restart, ledger=ledger)
    env.from_collection(range(40), uid="n").map(Add, uid="add").map(once, uid="once").sink(id)
    job = env.submit().wait(60)
    assert items_of(entries) == list(range(40))
    assert log == [(job.id, job.restored_from)]
    assert {uid for _, _, uid, _, _ in entries} == {"add"}
    assert len({record for _, _, _, record, _ in entries}) == 40
    assert [epoch for _, epoch, *_ in entries] == sorted(epoch for _, epoch, *_ in entries)


def test_a_checkpoint_waits_for_calls_in_flight_of_a_step_that_writes(tmp_path):
    """Else it would save an item to be worked on again whose write it takes for done."""
    entries, log = [], []
    wrote, go_on, loops = threading.Event(), asyncio.Event(), []

    class Slow(MapFunction):
        async def execute(self, item):
            self.call_service("store", item, method="add")
            if item == 3:
                loops.append(asyncio.get_running_loop())
                wrote.set()
                await go_on.wait()
            return item

    env = environment(tmp_path, entries, log)
    env.from_collection(range(8), uid="n").map(Slow, uid="slow", concurrency=4).sink(id)
    job = env.submit()
    assert wrote.wait(60)
    with pytest.raises(TimeoutError):
        job.savepoint(tmp_path / "early", timeout=0.05)
    loops[0].call_soon_threadsafe(go_on.set)
    job.wait(60)
    assert sorted(items_of(entries)) == list(range(8))


class Outside(MapFunction):
    """Writes to a list by itself."""

    entries: ClassVar[list] = []
    log: ClassVar[list] = []

    def execute(self, item):
        self.entries.append((self.ctx.job_id, self.ctx.epoch, item))
        if item == 5:
            raise OSError("always")
        return item

    def roll_back(self, run, checkpoint):
        self.log.append((run, checkpoint))
        self.entries[:] = [e for e in self.entries if e[0] != run or e[1] < checkpoint]


def test_functions_take_part_and_are_told_once_per_step(tmp_path):
    Outside.entries, Outside.log = [], []
    restart = {"strategy": "fixed_delay", "delay": 0, "attempts": 2}
    env = LocalEnvironment("outside")
    env.enable_checkpoints(interval=None, store=tmp_path / "runs", restart=restart)
    env.from_collection(range(9)).map(Outside, uid="outside", parallelism=2).sink(id)
    job = env.submit()
    with pytest.raises(JobError):
        job.wait(60)
    assert len(Outside.log) == 2
    assert len({entry[-1] for entry in Outside.entries}) == len(Outside.entries)


def test_another_process_goes_back_before_its_tasks_run(tmp_path):
    entries, log = [], []

    def fails(item):
        if item == 5 and not log:
            raise OSError("once")
        return item

    def pipeline():
        env = environment(tmp_path, entries, log)
        env.from_collection(range(9), uid="n").map(Add, uid="add").map(fails).sink(id)
        return env.submit()

    first = pipeline()
    with pytest.raises(JobError):
        first.wait(60)
    assert items_of(entries) == list(range(6))
    again = pipeline().wait(60)
    assert log == [(first.id, again.restored_from)]
    assert items_of(entries) == list(range(9))


def test_a_savepoint_takes_back_on_request_only_and_its_run_is_over_then(tmp_path):
    entries, log = [], []
    reached, go_on, loops = threading.Event(), asyncio.Event(), []

    async def held(item):
        if item in (4, 7):
            loops.append(asyncio.get_running_loop())
            reached.set()
            await go_on.wait()
        if item == 7:
            raise OSError("always")
        return item

    def pipeline(last, **settings):
        env = environment(tmp_path, entries, log, **settings)
        stream = env.from_collection(range(9), uid="n").map(Add, uid="add")
        stream.map(last, uid="last", concurrency=4).sink(id)
        return env

    job = pipeline(held).submit()
    assert reached.wait(60)
    job.savepoint(tmp_path / "saved", timeout=60)
    loops[0].call_soon_threadsafe(go_on.set)
    with pytest.raises(JobError):
        job.wait(60)

    async def passed(item):
        return item

    from_it = {"savepoint": tmp_path / "saved", "allow_dropped": True}
    pipeline(passed, **from_it).submit().wait(60)
    assert log == []
    kept = [e for e in entries if e[0] == job.id and e[1] < 2]
    back = pipeline(passed, roll_back=True, **from_it).submit().wait(60)
    assert [run for run, _ in log] == [job.id]
    assert [e for e in entries if e[0] == job.id] == kept
    mine = [e[-1] for e in entries if e[0] in (job.id, back.id)]
    assert sorted(mine) == list(range(9))
    with pytest.raises(JobError, match=f"taken back when run '{back.id}'"):
        pipeline(passed, resume=job.id).submit()
    assert pipeline(passed).submit().wait(60).id not in (job.id, back.id)


def test_roll_back_needs_a_savepoint(tmp_path):
    with pytest.raises(ConfigError, match="set savepoint too"):
        environment(tmp_path, [], [], roll_back=True)
