"""Savepoints, restores, replays, forks and requeued dead letters of managed jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import ConfigError, JobError, NotFoundError
from sage.kernel.jobmanager.client import JobManagerClient, raise_for_status

CALLING = """
import sys
from pathlib import Path
from sage.api import LocalEnvironment, MapFunction, SinkFunction

folder = Path(sys.argv[1])


def asked(text):
    '''Stands for a paid call: leaves a trace each time.'''
    with (folder / "calls").open("a") as file:
        file.write(f"{text}\\n")
    return text.upper()


class Ask(MapFunction):
    def __init__(self, config=None):
        super().__init__()
        self.suffix = (config or {}).get("suffix", "")

    def execute(self, item):
        if (folder / "fail").exists() and item == "b":
            raise ValueError("no answer")
        return self.ctx.call(asked, item + self.suffix)


class Out(SinkFunction):
    def execute(self, item):
        with (folder / "out").open("a") as file:
            file.write(f"{item}\\n")


env = LocalEnvironment("calling")
(
    env.from_collection(["a", "b", "c"], name="letters")
    .map(Ask, {"suffix": "!"}, name="ask", on_error="dead_letter")
    .map(lambda text: text * 2, name="double")
    .sink(Out, name="out")
)
env.submit()
"""

FOREVER = """
import time
from sage.api import LocalEnvironment, MapFunction, SourceFunction


class Ticks(SourceFunction):
    def __init__(self):
        super().__init__()
        self.at = 0

    @property
    def offset(self):
        return self.at

    def seek(self, offset):
        self.at = offset
        print("from", offset)

    def run(self):
        while not self.ctx.stopping:
            self.at += 1
            yield self.at
            time.sleep(0.01)


env = LocalEnvironment("ticks", config={"fault_tolerance": {"interval": 0.1}})
env.from_source(Ticks(), uid="ticks").map(lambda x: x, uid="same").sink(lambda x: None, uid="end")
env.submit()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "calling"
    made.mkdir()
    return made


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def run(client: JobManagerClient, program: Callable[..., Path], folder: Path) -> Any:
    job = client.submit_program(program(CALLING), [str(folder)])
    return raise_for_status(client.wait(job.id, 60))


def test_replay_makes_no_call_and_touches_nothing(
    client: JobManagerClient, program: Callable[..., Path], folder: Path
) -> None:
    job = run(client, program, folder)
    assert lines(folder / "calls") == ["a!", "b!", "c!"]
    assert lines(folder / "out") == ["A!A!", "B!B!", "C!C!"]
    replayed = client.replay(job.id)
    assert (replayed.action, replayed.parent) == ("replay", job.id)
    raise_for_status(client.wait(replayed.id, 60))
    assert lines(folder / "calls") == ["a!", "b!", "c!"]
    sample = client.metrics(replayed.id)
    assert sample is not None
    assert sample.operators["double"]["out"] == 3


def test_fork_computes_only_what_is_downstream(
    client: JobManagerClient, program: Callable[..., Path], folder: Path
) -> None:
    job = run(client, program, folder)
    later = client.fork(job.id, "double")
    raise_for_status(client.wait(later.id, 60))
    assert lines(folder / "calls") == ["a!", "b!", "c!"]
    changed = client.fork(job.id, "ask", settings={"ask.suffix": "?"})
    raise_for_status(client.wait(changed.id, 60))
    assert lines(folder / "calls")[3:] == ["a?", "b?", "c?"]
    with pytest.raises(ConfigError, match="one step"):
        client.fork(job.id, "ask", settings={"ask.suffix": "?", "double.x": 1})
    # What comes after a fork has its configuration, too.
    again = client.replay(changed.id)
    raise_for_status(client.wait(again.id, 60))
    last = changed
    for _ in range(2):
        last = client.wait(client.fork(last.id, "double").id, 60)
        raise_for_status(last)
    assert lines(folder / "calls")[6:] == []


def test_dead_letters_are_requeued(
    client: JobManagerClient, program: Callable[..., Path], folder: Path
) -> None:
    (folder / "fail").touch()
    job = run(client, program, folder)
    (letter,) = client.dead_letters(job.id)
    assert (letter["operator"], letter["item"]) == ("ask", "b")
    assert lines(folder / "calls") == ["a!", "c!"]
    (folder / "fail").unlink()
    again = client.requeue(job.id)
    assert again.action == "requeue"
    raise_for_status(client.wait(again.id, 60))
    assert lines(folder / "calls") == ["a!", "c!", "b!"]
    assert lines(folder / "out") == ["A!A!", "C!C!", "B!B!"]
    named = client.requeue(job.id, items=[letter["item_id"]])
    raise_for_status(client.wait(named.id, 60))
    assert lines(folder / "out")[3:] == ["B!B!"]


def test_lineage_and_cost_are_read_from_the_ledger(
    client: JobManagerClient, program: Callable[..., Path], folder: Path
) -> None:
    job = run(client, program, folder)
    outputs = client.outputs(job.id)
    assert {each["status"] for each in outputs} == {"ok"}
    found = client.why(job.id, outputs[0]["record"])
    assert len(found["calls"]) == 1
    assert client.cost(job.id)["total"]["calls"] == 3
    with pytest.raises(JobError, match="by must be"):
        client.cost(job.id, by="colour")
    with pytest.raises(NotFoundError):
        client.why(job.id, "no-such-item")


def test_savepoint_and_restore(
    client: JobManagerClient, program: Callable[..., Path], until: Any
) -> None:
    job = client.submit_program(program(FOREVER))
    until(lambda: client.metrics(job.id), "it runs")
    path = client.savepoint(job.id, "before lunch")
    assert Path(path).is_dir()
    assert Path(path).is_relative_to(Path(job.folder) / "savepoints")
    with pytest.raises(JobError, match="exists"):
        client.savepoint(job.id, "before lunch")
    event = next(e for e in client.events(job.id) if e.type == "savepoint")
    assert event.data["path"] == path
    client.cancel(job.id)
    assert client.wait(job.id, 60).status == "CANCELED"

    for savepoint in (path, "before_lunch", None):
        restored = client.restore(job.id, savepoint)
        assert (restored.action, restored.parent) == ("restore", job.id)
        until(lambda job_id=restored.id: client.metrics(job_id), "it runs")
        client.cancel(restored.id)
        assert client.wait(restored.id, 60).status == "CANCELED"
        (first, *_) = client.logs(restored.id)
        assert first.startswith("from ")
        assert int(first.split()[1]) > 0
    with pytest.raises(NotFoundError, match="no savepoint"):
        client.restore(job.id, "never taken")
    with pytest.raises(ConfigError, match="outside"):
        client.restore(job.id, "../../elsewhere")


def test_a_program_with_two_pipelines_goes_on_behind_the_one_that_finished(
    daemon: Any, program: Callable[..., Path], tmp_path: Path
) -> None:
    client = daemon.start()
    script = program(
        f"""
import os
from pathlib import Path
from sage.api import LocalEnvironment

folder = Path({str(tmp_path)!r})

def first(x):
    with (folder / "first").open("a") as file:
        file.write(f"{{x}}\\n")

def second(x):
    if not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), 9)
    with (folder / "second").open("a") as file:
        file.write(f"{{x}}\\n")

for step in (first, second):
    env = LocalEnvironment("same name")
    env.from_collection([1, 2]).sink(step)
    job = env.submit()
    job.wait()
    print(job, job.status)
"""
    )
    job = client.submit_program(script)
    ended = raise_for_status(client.wait(job.id, 60))
    assert [a.status for a in ended.attempts] == ["LOST", "FINISHED"]
    assert lines(tmp_path / "first") == ["1", "2"]
    assert lines(tmp_path / "second") == ["1", "2"]
    done = f"{job.id} FINISHED"
    assert client.logs(job.id) == [done, done, f"{job.id}-2 FINISHED"]
