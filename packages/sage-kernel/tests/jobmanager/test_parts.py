"""The parts of the JobManager one by one: journal, logs, output, store, states, settings."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import ConfigError, JobError, NotFoundError, ServiceError
from sage.kernel.jobmanager import control, states
from sage.kernel.jobmanager.journal import CHECKPOINT, METRICS, Journal, read_journal
from sage.kernel.jobmanager.layout import Home, JobFolder
from sage.kernel.jobmanager.logs import LogFollower, read_lines
from sage.kernel.jobmanager.manager import JobManager
from sage.kernel.jobmanager.process import alive, describe_exit, kill_group, start_time, wait_gone
from sage.kernel.jobmanager.settings import JobManagerSettings, jobmanager_settings
from sage.kernel.jobmanager.store import Database, History, Jobs
from sage.kernel.jobmanager.submission import Submission

ID = "job-00000000001-0000000001"


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    home = Home(tmp_path / "data")
    home.prepare()
    made = home.job(ID)
    made.prepare()
    return made


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "jobs.sqlite")
    yield made
    made.close()


def nothing(job_id: str) -> None:
    """What a store tells of a change goes nowhere."""


# ------------------------------------------------------------------ states


def test_tables_are_closed_and_every_state_can_end() -> None:
    for table in (states.JOB_TRANSITIONS, states.ATTEMPT_TRANSITIONS):
        assert {s for after in table.values() for s in after} <= set(table)
        ends = {s for s, after in table.items() if not after}
        for state in table:
            reached, todo = set(), [state]
            while todo:
                at = todo.pop()
                if at not in reached:
                    reached.add(at)
                    todo += table[at]
            assert reached & ends, state
    assert {"FINISHED", "FAILED", "CANCELED"} == states.ENDED


def test_the_diagrams_of_the_page_are_drawn_from_the_tables() -> None:
    page = Path(__file__).resolve().parents[4] / "docs/jobmanager.md"
    drawn = re.findall(r"```mermaid\n(.*?)\n```", page.read_text("utf-8"), re.DOTALL)
    tables = (states.JOB_TRANSITIONS, states.ATTEMPT_TRANSITIONS)
    assert drawn == [states.mermaid(table) for table in tables]


# ------------------------------------------------------------------ journal and control socket


def test_a_journal_counts_on_after_a_torn_line(folder: JobFolder) -> None:
    first = Journal(folder, 1)
    first.append("a", {"x": 1})
    first.append(METRICS, {"y": 2})
    with folder.journal.open("a") as file:
        file.write('{"n": 3, "torn')
    assert [line["n"] for line in read_journal(folder)] == [1, 2]
    second = Journal(folder, 2)
    second.append("b", {})
    lines = read_journal(folder)
    assert [(line["n"], line["attempt"], line["type"]) for line in lines] == [
        (1, 1, "a"),
        (2, 1, METRICS),
        (3, 2, "b"),
    ]
    assert read_journal(folder, 2) == lines[2:]
    assert folder.journal.stat().st_mode & 0o077 == 0


def test_samples_are_bounded_and_events_are_kept(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sage.kernel.jobmanager.journal._METRICS_BYTES", 1000)
    journal = Journal(folder, 1)
    for number in range(100):
        journal.append(METRICS, {"x": "y" * 50})
        journal.append(CHECKPOINT, {"checkpoint_id": number})
        if number % 10 == 0:
            journal.append("event", {"number": number})
    lines = read_journal(folder)
    assert [line["data"]["number"] for line in lines if line["type"] == "event"] == list(
        range(0, 100, 10)
    )
    size = sum(p.stat().st_size for p in folder.path.glob("metrics.*"))
    assert size < 3000
    assert lines[-1]["n"] == 210
    assert folder.journal.stat().st_size < 2000


def test_followers_get_the_past_and_what_comes_without_a_gap(folder: JobFolder) -> None:
    journal = Journal(folder, 1)
    got: list[int] = []
    done = threading.Event()

    def listen(raw: bytes) -> None:
        got.append(json.loads(raw)["n"])
        if got[-1] == 400:
            done.set()

    def write() -> None:
        for _ in range(200):
            journal.append(METRICS, {})

    writers = [threading.Thread(target=write) for _ in range(2)]
    for each in writers:
        each.start()
    stop = journal.follow(0, listen)
    for each in writers:
        each.join()
    assert done.wait(10)
    assert got == list(range(1, 401))
    stop()
    journal.append("more", {})
    assert got[-1] == 400


def test_a_control_socket_may_have_a_long_path(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 20) / ("longer" * 15) / "control.sock"
    path.parent.mkdir(parents=True)
    assert control.connect(path) is None
    listener = control.listen(path)
    answers = [{"result": {"x": 1}}, {"error": {"type": "NotFoundError", "message": "no"}}]

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                assert next(control.lines(connection))["method"] == "ask"
                control.send(connection, answer)
        connection, _ = listener.accept()
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert control.call(path, "ask") == {"x": 1}
    with pytest.raises(NotFoundError, match=r"^no$"):
        control.call(path, "ask")
    with pytest.raises(ServiceError, match=r"ended before|broke off"):
        control.call(path, "ask")
    thread.join()
    with pytest.raises(ServiceError, match="did not answer"):
        control.call(path, "ask", timeout=0.1)
    listener.close()
    with pytest.raises(ServiceError, match="no process"):
        control.call(path, "ask")


# ------------------------------------------------------------------ logs


def test_reading_and_following_across_rotations(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    assert read_lines(log) == []
    follower = LogFollower(log)
    assert follower.start(None) == []
    log.write_text("".join(f"line {n}\n" for n in range(5)))
    assert follower.more() == [f"line {n}" for n in range(5)]
    with log.open("a") as file:
        file.write("line 5\nhalf")
    assert follower.more() == ["line 5"]
    with log.open("a") as file:
        file.write(" a line\nlast of the old\n")
    log.rename(tmp_path / "job.log.1")
    log.write_text("first of the new\n")
    assert follower.more() == ["half a line", "last of the old", "first of the new"]
    assert follower.more() == []
    with log.open("a") as file:
        file.write("no newline")
    assert follower.more() == []
    assert follower.more(last=True) == ["no newline"]
    follower.close()
    everything = read_lines(log)
    assert everything[:2] == ["line 0", "line 1"]
    assert everything[-2:] == ["first of the new", "no newline"]
    for count in range(len(everything) + 3):
        assert read_lines(log, count) == everything[len(everything) - min(count, len(everything)) :]
    (tmp_path / "job.log").write_text("x" * 200_000 + "\nend\n")
    assert read_lines(log, 1) == ["end"]
    again = LogFollower(log)
    assert again.start(1) == ["end"]
    assert again.more() == []
    again.close()


def test_a_line_that_is_being_written_is_given_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    for tail in (None, 1):
        path.write_bytes(b"one\nha")
        follower = LogFollower(path)
        assert follower.start(tail) == ["one"]
        with path.open("ab") as file:
            file.write(b"lf\nmore")
        assert follower.more() == ["half"]
        assert follower.more(last=True) == ["more"]
        follower.close()


WRITER = """
import os, sys
from pathlib import Path
from sage.common.secrets import remember
from sage.kernel.jobmanager.runner.output import Output

remember("hunter2-hunter2")
output = Output(Path(sys.argv[1]), 1000, 3)
output.start()
for n in range(300):
    print(f"line {n}", "hunter2-hunter2")
    if n % 50 == 0:
        os.write(1, b"native\\n")
    output.rotate_if_large()
sys.stdout.write("half hunter2")
sys.stdout.write("-hunter2 done\\n")
sys.stdout.buffer.write(b"bytes \\xc3")
sys.stdout.buffer.write(b"\\xbc \\xff\\n")
print("no newline", end="", flush=True)
os.kill(os.getpid(), 9)
"""


def test_output_is_masked_and_rotated_without_losing_a_line(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    done = subprocess.run([sys.executable, "-c", WRITER, str(log)], capture_output=True)
    assert done.returncode == -9
    assert done.stderr == b""
    lines = read_lines(log)
    numbered = [line for line in lines if line.startswith("line ")]
    first = int(numbered[0].split()[1])
    assert first > 0  # three old files are kept
    assert numbered == [f"line {n} ********" for n in range(first, 300)]
    assert lines[-3:] == ["half ******** done", "bytes \u00fc \\xff", "no newline"]
    assert "native" in lines
    parts = sorted(p.name for p in tmp_path.iterdir())
    assert parts == ["job.log", "job.log.1", "job.log.2", "job.log.3"]
    assert all(p.stat().st_mode & 0o077 == 0 for p in tmp_path.iterdir())


# ------------------------------------------------------------------ store


def submission(**changes: Any) -> Submission:
    return Submission(**{"kind": "spec", "name": "n", "spec": {}, **changes})


def test_changes_that_the_table_does_not_have_are_refused(database: Database) -> None:
    jobs = Jobs(database, nothing)
    jobs.add(ID, submission())
    with pytest.raises(JobError, match="is SUBMITTED and cannot become PAUSED"):
        jobs.to(ID, "PAUSED")
    assert jobs.begin_attempt(ID) == 1
    jobs.attempt_to(ID, 1, "RUNNING")
    jobs.to(ID, "RUNNING")
    jobs.attempt_to(ID, 1, "FINISHED", code=0)
    jobs.to(ID, "FINISHED")
    for status in states.JOB_TRANSITIONS:
        with pytest.raises(JobError, match="is FINISHED"):
            jobs.to(ID, status)
    with pytest.raises(JobError):
        jobs.attempt_to(ID, 1, "LOST")
    history = History(database, nothing)
    assert [e.data.get("status") for e in history.events(ID) if e.type == "status"] == [
        "SUBMITTED",
        "STARTING",
        "RUNNING",
        "FINISHED",
    ]


def test_lines_of_a_journal_are_stored_once(database: Database) -> None:
    jobs, history = Jobs(database, nothing), History(database, nothing)
    jobs.add(ID, submission())
    lines = [
        {"n": n, "time": float(n), "attempt": 1, "type": "e", "data": {"n": n}} for n in range(1, 6)
    ]
    assert history.take(ID, lines[:3]) == lines[:3]
    assert history.take(ID, lines) == lines[3:]
    assert history.take(ID, lines) == []
    assert [e.data["n"] for e in history.events(ID) if e.type == "e"] == [1, 2, 3, 4, 5]
    assert history.position(ID) == 5


def test_a_line_is_stored_with_what_it_says_or_not_at_all(database: Database) -> None:
    jobs, history = Jobs(database, nothing), History(database, nothing)
    jobs.add(ID, submission())
    jobs.begin_attempt(ID)
    lines = [{"n": 1, "time": 0.0, "attempt": 1, "type": "state", "data": {"status": "RUNNING"}}]

    def killed(line: Any) -> None:
        jobs.to(ID, "RUNNING")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        history.take(ID, lines, killed)
    assert (history.position(ID), jobs.get(ID).status) == (0, "STARTING")
    assert history.take(ID, lines, lambda _: jobs.to(ID, "RUNNING")) == lines
    assert (history.position(ID), jobs.get(ID).status) == (1, "RUNNING")


def test_a_full_control_socket_is_an_error_of_its_job(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with contextlib.ExitStack() as stack:
        stack.enter_context(control.listen(path))
        with contextlib.suppress(BlockingIOError):
            while caller := control.connect(path, 0.0):  # nobody accepts
                stack.enter_context(caller)
        with pytest.raises(ServiceError, match=r"did not answer|broke off"):
            control.call(path, "hello", timeout=0.1)


def test_old_samples_are_thinned_out(database: Database) -> None:
    jobs, history = Jobs(database, nothing), History(database, nothing)
    jobs.add(ID, submission())
    now = time.time()
    minute = 60 * int((now - 7200) / 60)
    sample = {"status": "RUNNING", "seconds": 1.0, "operators": {}}
    times = [minute + 2 * n for n in range(60)] + [now - 2 * n for n in range(10, 0, -1)]
    history.take(
        ID,
        [
            {"n": n, "time": at, "attempt": 1, "type": METRICS, "data": sample}
            for n, at in enumerate(times, 1)
        ],
    )
    assert len(history.samples(ID)) == 70
    assert history.thin_out(3600) == 58
    kept = [each.time for _, each in history.samples(ID)]
    assert kept == [minute, minute + 60, *times[60:]]
    assert [each.time for _, each in history.samples(ID, limit=1)] == times[-1:]


def test_of_old_checkpoints_one_a_minute_is_told(database: Database) -> None:
    jobs, history = Jobs(database, nothing), History(database, nothing)
    jobs.add(ID, submission())
    minute = 60 * int((time.time() - 7200) / 60)
    facts = [(CHECKPOINT, minute + n) for n in range(120)] + [(CHECKPOINT, time.time())]
    facts.insert(7, ("message", minute + 6))
    history.take(
        ID,
        [
            {"n": n, "time": float(at), "attempt": 1, "type": kind, "data": {}}
            for n, (kind, at) in enumerate(facts, 1)
        ],
    )
    assert history.thin_out(3600) == 118
    kept = [(each.type, each.time - minute) for each in history.events(ID) if each.type != "status"]
    assert kept[:3] == [("message", 6), (CHECKPOINT, 59), (CHECKPOINT, 119)]
    assert len(kept) == 4


def test_ids_may_be_shortened_while_they_are_clear(database: Database) -> None:
    jobs = Jobs(database, nothing)
    other = "job-00000000001-ffffffffff"
    jobs.add(ID, submission())
    jobs.add(other, submission())
    assert jobs.get("job-00000000001-f").id == other
    with pytest.raises(JobError, match="several"):
        jobs.get("job-0000")
    for wrong in ("job", "job-%", "job-*", "job-0000000000x", ID + "0"):
        with pytest.raises(NotFoundError):
            jobs.get(wrong)


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    made = Database(tmp_path / "jobs.sqlite")
    with made.transaction() as connection:
        connection.execute("PRAGMA user_version = 99")
    made.close()
    with pytest.raises(ServiceError, match=r"version 99"):
        Database(tmp_path / "jobs.sqlite")
    (tmp_path / "junk").write_bytes(b"junk" * 1000)
    with pytest.raises(ServiceError, match="cannot be used"):
        Database(tmp_path / "junk")


def test_housekeeping_removes_what_is_too_old(tmp_path: Path) -> None:
    settings = JobManagerSettings(data_dir=tmp_path, keep_days=1)
    manager = JobManager(settings)
    old, new = "job-00000000001-aaaaaaaaaa", "job-00000000002-aaaaaaaaaa"
    for job_id, digest in ((old, "a" * 64), (new, "b" * 64)):
        folder = manager.home.job(job_id)
        folder.prepare()
        manager.jobs.add(job_id, submission(kind="program", spec=None, bundle=digest, entry="a"))
        manager.jobs.to(job_id, "CANCELED")
        bundle = manager.home.bundle(digest)
        bundle.write_bytes(b"x")
        os.utime(bundle, (0, 0))
    with manager.database.transaction() as connection:
        connection.execute("UPDATE jobs SET ended = 0 WHERE id = ?", (old,))
    manager.keep_house()
    assert [job.id for job in manager.jobs.listed()] == [new]
    assert not manager.home.job(old).path.exists()
    assert [p.stem for p in manager.home.bundles.iterdir()] == ["b" * 64]
    manager.database.close()


# ------------------------------------------------------------------ processes and settings


def test_a_process_is_known_by_its_start_time() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    )
    started = start_time(child.pid)
    assert started is not None
    assert alive(child.pid, started)
    assert not alive(child.pid, "another time")
    assert not kill_group(child.pid, "another time")
    assert not wait_gone(child.pid, started, 0.05)
    assert kill_group(child.pid, started)
    assert wait_gone(child.pid, started, 30)
    child.communicate()
    assert start_time(child.pid) is None
    assert wait_gone(child.pid, started)
    assert not kill_group(child.pid, started)
    assert [describe_exit(code) for code in (-9, 3, None)] == [
        "it was killed by SIGKILL",
        "it ended with exit code 3",
        "it ended while no JobManager watched",
    ]


def test_settings_come_from_files_and_name_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sage.yaml").write_text("jobmanager: {max_jobs: 2, data_dir: data}\n")
    made = jobmanager_settings({"port": 5, "host": None})
    assert (made.max_jobs, made.port, made.host) == (2, 5, "127.0.0.1")
    assert made.data_dir == tmp_path / "data"
    for wrong in (
        {"address": "localhost:1"},
        {"max_jobs": 0},
        {"port": "no"},
        {"maxjobs": 3},
        {"metrics_interval": 0},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            jobmanager_settings(wrong)
