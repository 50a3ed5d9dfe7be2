"""A run that is interrupted and goes on gives what an uninterrupted run gives."""

from __future__ import annotations

import threading

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import JobError
from sage.kernel.testing import leftovers
from sage.kernel.testing import recovery as flows


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    assert leftovers() == []


def environment(tmp_path, **settings):
    settings = {"store": str(tmp_path / "runs"), "interval": None, **settings}
    return LocalEnvironment("flow", {"channel_capacity": 8, "fault_tolerance": settings})


def expected(flow, tmp_path):
    env = LocalEnvironment("reference")
    path = tmp_path / "expected"
    flow(env).sink(flows.Lines(path))
    env.execute(timeout=30)
    return sorted(path.read_text().splitlines())


def interrupt(flow, tmp_path, savepoint, gate_after=30):
    """Run until the first results are out, save the state, and cancel."""
    env = environment(tmp_path)
    gate, come = flows.Gate(gate_after), threading.Event()
    sink = flows.Lines(tmp_path / "out", after=gate_after // 2, call=come.set)
    flow(env).map(gate, concurrency=8, ordered=False, uid="gate").sink(sink, uid="out")
    job = env.submit()
    assert come.wait(30), job.error()
    assert job.savepoint(savepoint, timeout=30) == str(savepoint)
    job.cancel(wait=False)
    gate.open()
    job.wait(60)
    assert job.status == "CANCELED"


def go_on(flow, tmp_path, savepoint, **settings):
    env = environment(tmp_path, savepoint=str(savepoint), **settings)
    gate = flows.Gate(10**9)
    stream = flow(env).map(gate, concurrency=8, ordered=False, uid="gate")
    stream.sink(flows.Lines(tmp_path / "out"), uid="out")
    env.execute(timeout=30)
    return sorted((tmp_path / "out").read_text().splitlines())


@pytest.mark.parametrize("flow", flows.FLOWS, ids=lambda flow: flow.__name__)
def test_a_savepoint_and_the_rest_make_the_whole(flow, tmp_path):
    interrupt(flow, tmp_path, tmp_path / "savepoint")
    assert go_on(flow, tmp_path, tmp_path / "savepoint") == expected(flow, tmp_path)


@pytest.mark.parametrize("flow", flows.FLOWS, ids=lambda flow: flow.__name__)
def test_saved_again_before_anything_moved(flow, tmp_path):
    """The first checkpoint after a restore holds the same as the one it came from."""
    interrupt(flow, tmp_path, tmp_path / "first")
    env = environment(tmp_path, savepoint=str(tmp_path / "first"))
    gate = flows.Gate(1)  # so the job cannot end
    stream = flow(env).map(gate, concurrency=8, ordered=False, uid="gate")
    stream.sink(flows.Lines(tmp_path / "out"), uid="out")
    job = env.submit()
    pause = threading.Event()
    while not any(e.get("event") == "checkpoint_completed" for e in job.events()):
        pause.wait(0.001)
    job.cancel(wait=False)
    gate.open()
    job.wait(30)
    env = environment(tmp_path, resume=job.id)
    stream = flow(env).map(flows.Gate(10**9), concurrency=8, ordered=False, uid="gate")
    stream.sink(flows.Lines(tmp_path / "out"), uid="out")
    env.execute(timeout=30)
    assert sorted((tmp_path / "out").read_text().splitlines()) == expected(flow, tmp_path)


def test_a_run_from_a_savepoint_goes_on_when_it_is_submitted_again(tmp_path):
    flow, savepoint = flows.keyed_state, tmp_path / "savepoint"
    interrupt(flow, tmp_path, savepoint)
    env = environment(tmp_path, savepoint=str(savepoint), interval=0.005)
    gate, come = flows.Gate(1), threading.Event()
    sink = flows.Lines(tmp_path / "out", after=50, call=come.set)
    flow(env).map(gate, concurrency=8, ordered=False, uid="gate").sink(sink, uid="out")
    job = env.submit()
    assert come.wait(30)
    job.cancel(wait=False)
    gate.open()
    job.wait(30)
    again = environment(tmp_path, savepoint=str(savepoint))
    stream = flow(again).map(flows.Gate(10**9), concurrency=8, ordered=False, uid="gate")
    stream.sink(flows.Lines(tmp_path / "out"), uid="out")
    second = again.execute(timeout=30)
    assert second.id == job.id, "not another run, which would pay for its calls again"
    assert sorted((tmp_path / "out").read_text().splitlines()) == expected(flow, tmp_path)
    third = environment(tmp_path, savepoint=str(savepoint))
    flow(third).map(flows.Gate(10**9), uid="gate").sink(flows.Lines(tmp_path / "out"), uid="out")
    assert third.execute(timeout=30).id != job.id, "the run has finished: a new one"


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3)])
def test_keyed_state_follows_another_parallelism(before, after, tmp_path):
    interrupt(lambda env: flows.keyed_state_parallel(env, before), tmp_path, tmp_path / "savepoint")
    found = go_on(
        lambda env: flows.keyed_state_parallel(env, after), tmp_path, tmp_path / "savepoint"
    )
    assert found == expected(flows.keyed_state, tmp_path)


def test_state_that_no_step_takes_is_refused_unless_dropped(tmp_path):
    interrupt(flows.keyed_state, tmp_path, tmp_path / "savepoint")

    def changed(env):
        return env.from_collection(range(flows.ITEMS)).map(lambda item: item, uid="other")

    with pytest.raises(JobError, match=r"no step .* takes: .*CountKey: keyed.*allow_dropped"):
        go_on(changed, tmp_path, tmp_path / "savepoint")
    go_on(changed, tmp_path, tmp_path / "savepoint", allow_dropped=True)


def test_a_job_without_checkpoints_says_how_to_have_them(tmp_path):
    env = LocalEnvironment("plain")
    env.from_collection(range(3)).sink(print)
    job = env.submit()
    with pytest.raises(JobError, match="enable_checkpoints"):
        job.savepoint(tmp_path / "savepoint")
    job.wait()


def test_a_paused_job_can_be_saved(tmp_path):
    env = environment(tmp_path)
    come = threading.Event()

    def source():
        n = 0
        while True:
            yield n
            n += 1

    env.from_source(source).sink(flows.Lines(tmp_path / "out", after=5, call=come.set), uid="out")
    job = env.submit()
    assert come.wait(30)
    job.pause()
    job.savepoint(tmp_path / "savepoint", timeout=30)
    job.cancel()
    saved = len((tmp_path / "out").read_text().splitlines())
    assert saved >= 5


def test_operator_state_cannot_be_split(tmp_path):
    interrupt(flows.threads_with_state, tmp_path, tmp_path / "savepoint")

    def wider(env):
        return flows.threads_with_state(env, 3)

    with pytest.raises(JobError, match="had parallelism 2 and has 3 now"):
        go_on(wider, tmp_path, tmp_path / "savepoint")


def test_a_finished_run_is_not_run_again_but_a_new_one(tmp_path):
    for _ in range(2):
        env = environment(tmp_path)
        flows.tumbling(env).sink(flows.Lines(tmp_path / "out"), uid="out")
        job = env.execute(timeout=30)
        assert job.restored_from is None
    assert len(list((tmp_path / "runs" / "flow").iterdir())) == 2
