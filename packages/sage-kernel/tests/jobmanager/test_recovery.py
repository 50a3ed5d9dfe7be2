"""Jobs survive ``kill -9`` of the daemon, of their own process, and of both."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import JobError, UnreachableError
from sage.kernel.jobmanager.client import JobManagerClient
from sage.kernel.jobmanager.launch import (
    daemon_log,
    daemon_state,
    restart_daemon,
    start_daemon,
    stop_daemon,
)
from sage.kernel.jobmanager.process import alive, start_time

COUNTING = """
import os, sys, time
from pathlib import Path
from sage.api import LocalEnvironment, SinkFunction, SourceFunction

folder = Path(sys.argv[1])


class Numbers(SourceFunction):
    '''0 to 2999, one by one, at once when the test lets them go.'''

    def __init__(self):
        super().__init__()
        self.at = 0

    def run(self):
        while self.at < 3000:
            if not (folder / "go").exists():
                time.sleep(0.01)
            self.at += 1
            yield self.at - 1

    @property
    def offset(self):
        return self.at

    def seek(self, offset):
        self.at = offset


class Lines(SinkFunction):
    '''Appends to a file; cuts it back to what a checkpoint holds.'''

    def open(self, ctx):
        self.path = folder / "out.txt"
        self.file = self.path.open("a")

    def execute(self, item):
        self.file.write(f"{item}\\n")
        self.file.flush()

    def snapshot(self):
        return self.path.stat().st_size

    def restore(self, size):
        with (folder / "restored").open("a") as file:
            file.write(f"{os.getpid()} {size}\\n")
        os.truncate(self.path, size)

    def close(self):
        self.file.close()


env = LocalEnvironment("counting", config={"fault_tolerance": {"interval": 0.05}})
env.from_source(Numbers()).sink(Lines)
env.submit()
"""


def expected(folder: Path) -> None:
    assert (folder / "out.txt").read_text().split() == [str(n) for n in range(3000)]


@pytest.fixture
def counting(program: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "counting"
    folder.mkdir()
    return program(COUNTING), folder


def checkpoints(client: JobManagerClient, job_id: str) -> int:
    return sum(e.type == "checkpoint_completed" for e in client.events(job_id))


def test_the_daemon_is_killed_and_finds_the_process_again(
    daemon: Any, counting: tuple[Path, Path], until: Any
) -> None:
    client = daemon.start()
    script, folder = counting
    job = client.submit_program(script, [str(folder)])
    until(lambda: checkpoints(client, job.id) > 2, "checkpoints")
    (attempt,) = client.job(job.id).attempts
    daemon.kill()
    state = daemon_state()
    assert not state.running
    assert state.problem is not None
    assert "sage jobmanager start" in state.problem
    out = folder / "out.txt"
    size = out.stat().st_size
    until(lambda: out.stat().st_size > size, "the job works on, with nobody watching")
    client = daemon.start()
    assert client.job(job.id).status == "RUNNING"
    client.pause(job.id)
    until.status(client, job, "PAUSED")
    client.resume(job.id)
    (folder / "go").touch()
    ended = client.wait(job.id, 60)
    assert ended.status == "FINISHED"
    assert [a.pid for a in ended.attempts] == [attempt.pid]
    expected(folder)
    assert not (folder / "restored").exists()
    events = client.events(job.id)
    numbers = [e.data["checkpoint_id"] for e in events if e.type == "checkpoint_completed"]
    assert numbers == list(range(1, len(numbers) + 1))  # none was lost, none came twice
    assert "recovered" in {e.type for e in events}


def test_the_job_is_killed_and_goes_on_from_its_checkpoint(
    daemon: Any, counting: tuple[Path, Path], until: Any
) -> None:
    client = daemon.start()
    script, folder = counting
    job = client.submit_program(script, [str(folder)])
    until(lambda: checkpoints(client, job.id) > 2, "checkpoints")
    for number in (1, 2):
        pid = until(lambda: client.job(job.id).attempts[-1].pid, "its process")
        os.killpg(pid, signal.SIGKILL)
        until(lambda n=number: client.job(job.id).attempt == n + 1, "the next attempt")
        until.status(client, job, "RUNNING")
        until(lambda n=number: len(restored(folder)) == n, "the state is back")
    (folder / "go").touch()
    ended = client.wait(job.id, 60)
    assert ended.status == "FINISHED"
    assert [(a.status, a.exit) for a in ended.attempts] == [
        ("LOST", -9),
        ("LOST", -9),
        ("FINISHED", 0),
    ]
    assert "SIGKILL" in str(ended.attempts[0].error)
    expected(folder)
    assert all(size > 0 for _, size in restored(folder))


def restored(folder: Path) -> list[tuple[int, int]]:
    path = folder / "restored"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), int(size)) for pid, size in map(str.split, lines)]


def test_both_are_killed(daemon: Any, counting: tuple[Path, Path], until: Any) -> None:
    client = daemon.start()
    script, folder = counting
    job = client.submit_program(script, [str(folder)])
    until(lambda: checkpoints(client, job.id) > 2, "checkpoints")
    pid = client.job(job.id).attempts[0].pid
    assert pid is not None
    daemon.kill()
    os.killpg(pid, signal.SIGKILL)
    until(lambda: start_time(pid) is None, "the process has gone")
    client = daemon.start()
    (folder / "go").touch()
    ended = client.wait(job.id, 60)
    assert [a.status for a in ended.attempts] == ["LOST", "FINISHED"]
    assert len(restored(folder)) == 1
    expected(folder)


def test_a_job_that_ended_while_no_daemon_ran_is_known(
    daemon: Any, counting: tuple[Path, Path], until: Any
) -> None:
    client = daemon.start()
    script, folder = counting
    job = client.submit_program(script, [str(folder)])
    until.status(client, job, "RUNNING")
    pid = client.job(job.id).attempts[0].pid
    daemon.kill()
    (folder / "go").touch()
    until(lambda: start_time(pid) is None, "the job has ended")
    client = daemon.start()
    ended = client.wait(job.id, 60)
    assert (ended.status, ended.attempt) == ("FINISHED", 1)
    expected(folder)
    sample = client.metrics(job.id)
    assert sample is not None
    assert next(iter(sample.operators.values()))["out"] == 3000


def test_a_job_that_dies_again_and_again_fails(daemon: Any, program: Callable[..., Path]) -> None:
    client = daemon.start(restart={"strategy": "fixed_delay", "attempts": 2, "delay": 0})
    script = program("import os, signal\nprint('again', flush=True)\nos.kill(os.getpid(), 9)\n")
    ended = client.wait(client.submit_program(script).id, 60)
    assert ended.status == "FAILED"
    assert [a.status for a in ended.attempts] == ["LOST"] * 3
    assert "SIGKILL" in str(ended.error)
    assert "started 3 times" in str(ended.error)
    assert client.logs(ended.id) == ["again"] * 3


def test_without_restarts_a_lost_process_fails_its_job(
    daemon: Any, program: Callable[..., Path]
) -> None:
    client = daemon.start(restart={"strategy": "none"})
    script = program("import os\nos._exit(7)\n")
    ended = client.wait(client.submit_program(script).id, 60)
    assert (ended.status, ended.attempt) == ("FAILED", 1)
    assert "exit code 7" in str(ended.error)


def test_stopping_keeps_or_suspends_jobs(
    daemon: Any, counting: tuple[Path, Path], until: Any
) -> None:
    client = daemon.start()
    script, folder = counting
    job = client.submit_program(script, [str(folder)])
    until(lambda: checkpoints(client, job.id) > 2, "checkpoints")
    pid = client.job(job.id).attempts[0].pid
    began = start_time(pid)
    info = restart_daemon(port=0, settings=daemon.settings)
    daemon.url, daemon.pid = info.url, info.pid
    client = daemon.client()
    assert client.job(job.id).attempts[0].pid == pid
    assert alive(pid, began)
    assert stop_daemon(jobs="suspend")
    assert not alive(pid, began)
    assert not stop_daemon()
    client = daemon.start()
    (folder / "go").touch()
    ended = client.wait(job.id, 60)
    assert [a.status for a in ended.attempts] == ["SUSPENDED", "FINISHED"]
    assert len(restored(folder)) == 1
    expected(folder)


def test_a_job_that_does_not_end_in_time_is_suspended_all_the_same(
    daemon: Any, program: Callable[..., Path], until: Any
) -> None:
    client = daemon.start(cancel_timeout=0.3, restart={"strategy": "none"})
    deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    job = client.submit_program(program(deaf + "print('deaf', flush=True)\ntime.sleep(1000)\n"))
    until(lambda: "deaf" in client.logs(job.id), "it runs")
    assert stop_daemon(jobs="suspend")
    client = daemon.start()
    until(lambda: client.logs(job.id).count("deaf") == 2, "it runs again")
    assert [each.status for each in client.job(job.id).attempts] == ["SUSPENDED", "RUNNING"]


def test_a_damaged_job_does_not_keep_others_from_going_on(
    daemon: Any, home: Path, counting: tuple[Path, Path], until: Any
) -> None:
    client = daemon.start()
    script, folder = counting
    damaged, sound = (client.submit_program(script, [str(folder)]) for _ in range(2))
    for job in (damaged, sound):
        until.status(client, job, "RUNNING")
    pids = [client.job(job.id).attempts[-1].pid for job in (damaged, sound)]
    daemon.kill()
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    with contextlib.closing(sqlite3.connect(home / "data/jobmanager/jobs.sqlite")) as store, store:
        store.execute("DELETE FROM attempts WHERE job = ?", (damaged.id,))
    client = daemon.start()
    until.status(client, sound, "RUNNING")
    assert any(damaged.id in line and "recovered" in line for line in daemon_log())


def test_a_damaged_submission_fails_its_job_only(
    daemon: Any, home: Path, program: Callable[..., Path], until: Any
) -> None:
    client = daemon.start(max_jobs=1)
    running = client.submit_program(program("import time\ntime.sleep(1000)\n"))
    waiting = client.submit_program(program("print(1)\n"))
    until.status(client, running, "RUNNING")
    daemon.kill()
    (home / f"data/jobmanager/jobs/{waiting.id}/submission.json").write_text("{")
    client = daemon.start(max_jobs=2)
    assert "cannot be started" in str(until.status(client, waiting, "FAILED").error)
    assert client.job(running.id).status == "RUNNING"


def test_a_waiting_client_outlasts_a_restart(
    daemon: Any, counting: tuple[Path, Path], until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = daemon.start()
    port = int(daemon.url.rpartition(":")[2])
    script, folder = counting
    job = client.submit_program(script, [str(folder)])
    until.status(client, job, "RUNNING")
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(client.wait(job.id, 60)))
    waiting.start()
    info = restart_daemon(port=port, settings=daemon.settings)
    daemon.url, daemon.pid = info.url, info.pid
    (folder / "go").touch()
    waiting.join(60)
    assert [each.status for each in found] == ["FINISHED"]


def test_what_is_followed_goes_on_behind_a_restart(
    daemon: Any, program: Callable[..., Path], tmp_path: Path, until: Any
) -> None:
    client = daemon.start()
    text = (
        "import sys, time\nfrom pathlib import Path\nprint('one', flush=True)\n"
        "while not Path(sys.argv[1]).exists():\n    time.sleep(0.01)\nprint('two')\n"
    )
    job = client.submit_program(program(text), [str(tmp_path / "go")])
    seen: dict[str, list[Any]] = {"logs": [], "events": [], "end of the log": []}

    def follow(what: str, lines: Iterator[Any]) -> None:
        try:
            for line in lines:
                seen[what].append(line)
        except UnreachableError as exc:
            seen[what].append(exc)

    threads = [
        threading.Thread(target=follow, args=(what, lines))
        for what, lines in (
            ("logs", client.follow_logs(job.id)),
            ("events", client.follow_events(job.id)),
            ("end of the log", client.follow_logs(job.id, tail=5)),
        )
    ]
    for thread in threads:
        thread.start()
    until(lambda: seen["logs"] and seen["events"] and seen["end of the log"], "they follow")
    daemon.pid = restart_daemon().pid
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join(60)
    assert seen["logs"] == ["one", "two"]
    assert seen["events"] == client.events(job.id)
    begin = time.monotonic()
    with pytest.raises(UnreachableError):  # at once: that one was never there
        list(JobManagerClient("localhost:1").follow_logs(job.id))
    assert time.monotonic() - begin < 20
    first, why = seen["end of the log"]
    assert (first, type(why)) == ("one", UnreachableError)


def test_one_daemon_per_folder_and_a_clear_word_on_ports(daemon: Any) -> None:
    daemon.start()
    with pytest.raises(JobError, match="runs already"):
        start_daemon(port=0)
    port = int(daemon.url.rpartition(":")[2])
    with pytest.raises(Exception, match=r"cannot listen on .*in use.*--port"):
        start_daemon(port=port, data_dir="elsewhere")
    assert any("cannot start" in line for line in daemon_log(data_dir="elsewhere"))
    state = daemon_state()
    assert (state.running, state.healthy, state.problem) == (True, True, None)
    assert state.info is not None
    assert state.info.pid == state.pid == daemon.pid


def test_a_daemon_that_does_not_answer_fails_its_health_check(daemon: Any) -> None:
    daemon.start()
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        slow = JobManagerClient(daemon.url, timeout=0.5)
        with pytest.raises(Exception, match=r"Health check failed.*sage jobmanager restart"):
            slow.health()
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


def test_a_stale_pid_file_is_no_daemon(daemon: Any, home: Path) -> None:
    daemon.start()
    file = home / "data/jobmanager/daemon.json"
    facts = json.loads(file.read_text())
    daemon.kill()
    facts["pid"] = os.getpid()  # the number was given to another process since
    file.write_text(json.dumps(facts))
    assert not daemon_state().running
    assert not stop_daemon()
    daemon.start()


def test_a_daemon_that_dies_whenever_a_job_was_submitted(
    daemon: Any, program: Callable[..., Path], tmp_path: Path
) -> None:
    script = program(
        """
import sys
from pathlib import Path
from sage.api import LocalEnvironment

def write(x):
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{x}\\n")

env = LocalEnvironment("short")
env.from_collection(range(20)).sink(write)
env.submit()
"""
    )
    jobs = []
    for number in range(6):
        client = daemon.start(max_jobs=2)
        jobs.append(client.submit_program(script, [str(tmp_path / f"out-{number}")]).id)
        daemon.kill()
    client = daemon.start()
    for number, job_id in enumerate(jobs):
        ended = client.wait(job_id, 60)
        assert (ended.status, ended.error) == ("FINISHED", None)
        assert (tmp_path / f"out-{number}").read_text().split() == [str(n) for n in range(20)]
        numbers = [e.id for e in client.events(job_id) if e.type == "result"]
        assert len(numbers) == 1
