"""Runs: resumed after a death at any moment, restarted in the process, found by name and id."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, GraphError, JobError, TaskFailedError
from sage.kernel.checkpoint.store import CheckpointWarning
from sage.kernel.runtime.deadletter import read_letters
from sage.kernel.testing import recovery

PROGRAM = """
    import sys
    from sage.api import LocalEnvironment
    from sage.kernel.testing import recovery

    store, out, stop_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
    env = LocalEnvironment("killed", {"fault_tolerance": {"store": store, "every": 7}})

    def checked(item):
        if item % 50 == 49:
            raise ValueError("refused")
        return item

    async def later(item):
        return item

    def ready():
        print("here", flush=True)
        sys.stdin.read()  # until it is killed

    stream = env.from_collection(range(400)).map(checked, on_error="dead_letter", uid="checked")
    stream = stream.map(later, concurrency=4).key_by(recovery.modulo)
    stream = stream.map(recovery.CountKey, uid="count")
    stream.sink(recovery.Lines(out, after=stop_at or None, call=ready), uid="out")
    job = env.submit()
    job.wait()
    print("ended", job.restored_from, job.dead_letter_path, flush=True)
"""


def start(tmp_path, stop_at):
    env = {**os.environ, "SAGE_HOME": str(tmp_path / "home")}
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(PROGRAM),
            str(tmp_path / "runs"),
            str(tmp_path / "out"),
            str(stop_at),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )


def expected_lines():
    counts: dict[int, int] = {}
    for item in range(400):
        if item % 50 != 49:
            key = item % 7
            counts[key] = counts.get(key, 0) + 1
            yield repr((item, counts[key], counts[key]))


def test_kill_9_at_many_points_loses_nothing_and_writes_nothing_twice(tmp_path):
    for stop_at in (1, 5, 40, 90, 3, 120):
        process = start(tmp_path, stop_at)
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(tmp_path, 0)
    told = process.communicate(timeout=60)[0].split()
    assert told[0] == "ended" and told[1] != "None"
    assert (tmp_path / "out").read_text().splitlines() == list(expected_lines())
    letters = [letter["item"] for letter in read_letters(told[2])]
    assert sorted(letters) == [49, 99, 149, 199, 249, 299, 349, 399]


def completed(job):
    return [e for e in job.events() if e.get("event") == "checkpoint_completed"]


def failing_once(tmp_path, name="flaky", **settings):
    """An environment whose step fails at item 150 the first time, after three checkpoints."""
    settings = {"store": str(tmp_path / "runs"), "interval": 0.005, **settings}
    env = LocalEnvironment(name, {"fault_tolerance": settings})
    broken = threading.Event()

    async def flaky(item):
        if item == 150 and not broken.is_set():
            while not env.jobs or len(completed(env.jobs[-1])) < 3:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.002)
            broken.set()
            raise OSError("once")
        return item

    stream = env.from_collection(range(300)).map(flaky, concurrency=1).key_by(recovery.modulo)
    stream.map(recovery.CountKey, uid="count").sink(recovery.Lines(tmp_path / "out"), uid="out")
    return env


def counted():
    counts: dict[int, int] = {}
    for item in range(300):
        counts[item % 7] = counts.get(item % 7, 0) + 1
        yield repr((item, counts[item % 7], counts[item % 7]))


@pytest.mark.parametrize(
    "restart",
    [
        {"strategy": "fixed_delay", "attempts": 1, "delay": 0},
        {"strategy": "exponential", "attempts": 1, "delay": 0.001},
        {"strategy": "failure_rate", "attempts": 1, "delay": 0, "window": 60},
    ],
    ids=lambda restart: restart["strategy"],
)
def test_a_failed_job_restarts_in_its_process(restart, tmp_path):
    job = failing_once(tmp_path, restart=restart).execute(timeout=60)
    assert [e["status"] for e in job.events() if "status" in e] == [
        "RUNNING",
        "FAILING",
        "RESTARTING",
        "RUNNING",
        "FINISHED",
    ]
    assert job.restored_from is not None
    assert (tmp_path / "out").read_text().splitlines() == list(counted())


def test_restarts_are_used_up(tmp_path):
    env = LocalEnvironment(
        "broken",
        {
            "fault_tolerance": {
                "store": str(tmp_path / "runs"),
                "restart": {"strategy": "fixed_delay", "attempts": 2, "delay": 0},
            }
        },
    )
    calls = []

    def refuse(item):
        calls.append(item)
        raise ValueError("always")

    env.from_collection([1]).map(refuse).sink(print)
    with pytest.raises(TaskFailedError, match="always"):
        env.execute(timeout=60)
    assert len(calls) == 3


def test_a_job_that_waits_to_restart_can_be_canceled(tmp_path):
    env = failing_once(tmp_path, restart={"strategy": "fixed_delay", "delay": 3600})
    job = env.submit()
    seen = threading.Event()
    while not any(e.get("event") == "restarting" for e in job.events()):
        seen.wait(0.005)
    assert job.cancel(timeout=30)
    assert job.status == "CANCELED"


def test_submitting_again_goes_on_with_a_failed_run(tmp_path):
    env = failing_once(tmp_path)
    with pytest.raises(TaskFailedError):
        env.execute(timeout=60)
    job = env.execute(timeout=60)
    assert job.restored_from is not None
    assert job.id == env.jobs[0].id
    assert (tmp_path / "out").read_text().splitlines() == list(counted())
    facts = json.loads((tmp_path / "runs" / "flaky" / job.id / "run.json").read_text())
    assert facts["status"] == "FINISHED" and len(facts["attempts"]) == 2


def test_a_run_is_resumed_by_its_id_or_not_at_all(tmp_path):
    with pytest.raises(TaskFailedError):
        failing_once(tmp_path).execute(timeout=60)
    (run,) = (tmp_path / "runs" / "flaky").iterdir()
    anew = failing_once(tmp_path, resume="never")
    with pytest.raises(TaskFailedError):
        anew.execute(timeout=60)
    assert anew.jobs[0].id != run.name
    named = failing_once(tmp_path, resume=run.name)
    with pytest.raises(TaskFailedError):
        named.execute(timeout=60)
    assert named.jobs[0].id == run.name
    with pytest.raises(JobError, match="no run 'job-x'"):
        failing_once(tmp_path, resume="job-x").submit()


def test_a_run_has_one_owner(tmp_path):
    env = LocalEnvironment("owned", {"fault_tolerance": {"store": str(tmp_path / "runs")}})
    gate = threading.Event()
    env.from_collection([1]).map(lambda item: gate.wait()).sink(print)
    job = env.submit()
    other = LocalEnvironment(
        "owned", {"fault_tolerance": {"store": str(tmp_path / "runs"), "resume": job.id}}
    )
    other.from_collection([1]).sink(print)
    with pytest.raises(JobError, match="executed by another process"):
        other.submit()
    gate.set()
    job.wait(30)


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(tmp_path):
    with pytest.raises(TaskFailedError):
        failing_once(tmp_path, keep=3).execute(timeout=60)
    (run,) = (tmp_path / "runs" / "flaky").iterdir()
    newest = max((run / "checkpoints").glob("*.json"), key=lambda path: path.name)
    newest.write_bytes(newest.read_bytes()[:-20])
    env = failing_once(tmp_path)
    with pytest.warns(CheckpointWarning, match=newest.name), pytest.raises(TaskFailedError):
        env.execute(timeout=60)
    job = env.execute(timeout=60)
    assert (tmp_path / "out").read_text().splitlines() == list(counted())
    assert job.status == "FINISHED"


def test_checkpoints_are_told_and_kept(tmp_path):
    with pytest.raises(TaskFailedError):
        failing_once(tmp_path, keep=2).execute(timeout=60)
    env = failing_once(tmp_path, keep=2)
    with pytest.raises(TaskFailedError):
        env.execute(timeout=60)
    told = completed(env.jobs[0])
    assert len(told) >= 3
    assert all(e["size"] >= 0 and e["duration"] >= 0 for e in told)
    numbers = [e["checkpoint_id"] for e in told]
    assert numbers == sorted(set(numbers)) and numbers[0] > 3
    folder = tmp_path / "runs" / "flaky" / env.jobs[0].id / "checkpoints"
    assert len(list(folder.glob("*.json"))) == 2


def test_what_cannot_be_saved_is_named(tmp_path):
    env = LocalEnvironment("bad", {"fault_tolerance": {"store": str(tmp_path), "every": 1}})

    def lock(item):
        return threading.Lock()

    async def keep(item):
        while not env.jobs or env.jobs[-1].status == "RUNNING":  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.002)
        return item

    env.from_collection(range(50)).map(lock).map(keep, name="keep", concurrency=2).sink(print)
    with pytest.raises(JobError, match=r"(?s)step 'keep'.*lock"):
        env.execute(timeout=60)


def test_a_type_that_cannot_be_saved_is_refused_at_submit(tmp_path):
    env = LocalEnvironment("typed", {"fault_tolerance": {"store": str(tmp_path)}})

    def make(item: int) -> threading.Thread:
        return threading.Thread()

    async def use(item: threading.Thread) -> int:
        return 1

    env.from_collection([1]).map(make).map(use, name="use").sink(print)
    with pytest.raises(GraphError, match=r"(?s)step 'use'.*Thread"):
        env.submit()


def test_settings_are_checked_where_they_are_given():
    with pytest.raises(ConfigError, match=r"intervall: unknown key; did you mean 'interval'"):
        LocalEnvironment("x", {"fault_tolerance": {"intervall": 1}})
    env = LocalEnvironment("x")
    with pytest.raises(ConfigError, match="interval"):
        env.enable_checkpoints(0)
    with pytest.raises(ConfigError, match="strategy"):
        env.enable_checkpoints(restart={"strategy": "often"})
