"""``sage job`` against a real JobManager: every verb, every exit code."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess

import pytest
import yaml

from sage.common.cli.exits import exit_code
from sage.common.errors import UnreachableError
from sage.kernel.jobmanager.client import JobManagerClient

SPEC = """
version: 1
name: numbers
steps:
- {id: numbers, kind: source, op: "builtin:collection", items: [1, 2, 3]}
- {id: out, kind: sink, op: "builtin:print", inputs: [numbers]}
"""
GREETING = """
import os, sys
from sage.api import LocalEnvironment
env = LocalEnvironment("greeting")
env.from_collection([os.environ.get("GREETING", "hello"), *sys.argv[1:]]).print()
env.submit().wait()
"""
FAILING = """
from sage.api import LocalEnvironment
def fail(x):
    raise ValueError(f"no {x}")
env = LocalEnvironment("failing")
env.from_collection([1]).map(fail).print()
env.submit().wait()
"""
# Gives items as lines are written into its gate, until the gate says END.
GATED = """
import time
from pathlib import Path
from sage.api import LocalEnvironment
def lines(path=Path({gate!r})):
    seen = 0
    while True:
        found = path.read_text().split("\\n")[:-1] if path.exists() else []
        for line in found[seen:]:
            if line == "END":
                return
            yield line
        seen = len(found)
        time.sleep(0.01)
env = LocalEnvironment("gated")
env.from_source(lines).print()
env.submit().wait()
"""

# Counts up to the number in a file, which may change meanwhile.
COUNTING = """
import time
from itertools import count
from pathlib import Path
from sage.api import LocalEnvironment
def numbers(path=Path({end!r})):
    for n in count():
        if n >= int(path.read_text() or "1000000000"):
            return
        yield n
        time.sleep(0.001)
env = LocalEnvironment("counting")
env.from_source(numbers).print()
env.submit().wait()
"""


@pytest.fixture(scope="module")
def files(managed):
    managed.write("pipeline.yaml", SPEC)
    managed.write("greeting.py", GREETING)
    managed.write("failing.py", FAILING)
    return managed


@pytest.fixture
def gated(files, tmp_path):
    """A job that runs until the test ends it, with what opens its gate."""
    gate = tmp_path / "gate"
    program = files.write(f"gated_{tmp_path.name}.py", GATED.format(gate=str(gate)))
    gate.write_text("first\n")
    job_id = files("job", "submit", "-q", str(program)).stdout.strip()
    follow = subprocess.Popen(
        files.command("job", "logs", "-f", job_id),
        cwd=files.folder,
        env=files.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follow.stdout is not None
    for line in follow.stdout:  # it runs, and has put out its first item
        if line.strip() == "first":
            break
    else:
        pytest.fail("the job ended before its first item")
    yield job_id, gate
    with gate.open("a") as stream:
        stream.write("END\n")
    follow.communicate(timeout=60)
    files("job", "stop", job_id)


def test_submit_waits_and_prints_the_job(files):
    done = files("job", "submit", "--wait", "-o", "json", "pipeline.yaml")
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert (job["status"], job["name"], job["kind"]) == ("FINISHED", "numbers", "spec")
    assert "\r" not in done.stderr  # no progress in a pipe
    logs = files("job", "logs", job["id"]).stdout.splitlines()
    assert [line for line in logs if line in "123"] == ["1", "2", "3"]
    assert files("job", "logs", "--tail", "1", job["id"]).stdout.count("\n") == 1
    shown = yaml.safe_load(files("job", "show", job["id"], "-o", "yaml").stdout)
    assert shown["attempts"][0]["status"] == "FINISHED"
    assert "numbers" in str(shown["metrics"]["operators"])
    table = files("job", "show", job["id"][:-1]).stdout  # the beginning is enough
    assert "Attempts" in table
    assert "Steps" in table


def test_settings_of_a_pipeline_file_and_of_a_program(files):
    job = files.json("job", "submit", "-w", "--name", "other", "pipeline.yaml")
    assert job["name"] == "other"
    job_id = files(
        "job", "submit", "-q", "-w", "-e", "GREETING=servus", "greeting.py", "you", "--all"
    ).stdout.strip()
    printed = files("job", "logs", job_id).stdout.splitlines()
    assert [line for line in printed if line in ("servus", "you", "--all")] == [
        "servus",
        "you",
        "--all",
    ]


def test_exit_codes(files, gated):
    job_id, _ = gated
    submit = ("job", "submit")
    cases = [
        (("job", "status"), 0, {}, ""),
        ((*submit, "--wait", "failing.py"), 3, {}, "no 1"),
        ((*submit, "nothing.py"), 4, {}, "nothing.py: no such file"),
        (("job", "show", "job-none"), 4, {}, "job-none"),
        (("job", "show"), 2, {}, "Missing argument"),
        (("job", "shwo"), 2, {}, "No such command"),
        ((*submit, "--set", "a.b=1", "greeting.py"), 1, {}, "--set are for pipeline files"),
        ((*submit, "--env", "TEST_CLI_NOT_SET", "greeting.py"), 2, {}, "expected NAME=VALUE"),
        (("job", "fork", job_id), 2, {}, "give --from STEP"),
        (("job", "cleanup", "--older-than", "soon"), 2, {}, "expected a span"),
        (("job", "list"), 5, {"SAGE_JOBMANAGER_TOKEN": "x" * 40}, "token"),
        (("job", "wait", "--timeout", "0.1", job_id), 6, {}, f"error: job {job_id} is still"),
        (("job", "list", "-a", "127.0.0.1:1"), 7, {}, "sage jobmanager start"),
        (("services", "list", "-a", "127.0.0.1:1"), 7, {}, "Failed to connect to JobManager"),
    ]
    for arguments, code, environment, message in cases:
        done = files(*arguments, **environment)
        assert done.returncode == code, (arguments, done.stderr)
        assert message in done.stderr, arguments
        assert "Traceback" not in done.stderr
        if code not in (0, 3):
            assert done.stdout == "", arguments


def test_ctrl_c_while_waiting_leaves_the_job_alone(files, gated):
    job_id, _ = gated
    waiting = subprocess.Popen(
        files.command("--debug", "job", "wait", job_id),
        cwd=files.folder,
        env=files.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    for line in waiting.stderr:
        if "waiting for" in line:
            break
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert f"the job {job_id} goes on; `sage job stop {job_id}` ends it" in err
    assert files("job", "status", job_id).stdout == "RUNNING\n"


def test_lists_are_parseable_and_filtered(files, gated):
    job_id, _ = gated
    active = files.json("job", "list", "--active")
    assert job_id in [job["id"] for job in active]
    assert {job["status"] for job in active} <= {"RUNNING", "SUBMITTED", "STARTING", "PAUSED"}
    assert yaml.safe_load(files("job", "list", "--name", "nobody", "-o", "yaml").stdout) == []
    done = files("job", "list", "--name", "nobody")
    assert (done.stdout, done.stderr) == ("", "there are no such jobs\n")
    lines = files("job", "list", "--limit", "1").stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATUS", "ACTION", "SUBMITTED", "TIME", "ATTEMPTS"]
    assert len(lines) == 2
    assert {"status": "RUNNING"}.items() <= files.json("job", "status", job_id).items()
    assert any(row["status"] == "RUNNING" for row in files.json("job", "status"))
    assert files("list", "-o", "json", program="sage-job").returncode == 0


def test_pause_resume_and_stop(files, gated):
    job_id, _gate = gated
    assert files.json("job", "pause", job_id)["status"] == "PAUSED"
    assert files.json("job", "resume", job_id)["status"] == "RUNNING"
    stopped = files.json("job", "stop", job_id)
    assert [job["status"] for job in stopped] == ["CANCELED"]
    done = files("job", "stop", job_id)
    assert done.returncode == 0
    assert "had ended already: CANCELED" in done.stderr
    done = files("job", "wait", job_id)
    assert done.returncode == 3


def test_savepoint_and_restore(files, tmp_path):
    end = tmp_path / "end"
    end.write_text("1000000000")
    program = files.write("counting.py", COUNTING.format(end=str(end)))
    job_id = files("job", "submit", "-q", str(program)).stdout.strip()
    while "0" not in files("job", "logs", job_id).stdout.split():
        assert files("job", "status", job_id).stdout.strip() in ("SUBMITTED", "STARTING", "RUNNING")
    saved = files.json("job", "savepoint", job_id, "--name", "mine")
    assert saved["savepoint"].endswith(f"{job_id}/savepoints/mine")
    end.write_text("5000")
    assert files.json("job", "wait", job_id)["status"] == "FINISHED"
    done = files("job", "restore", job_id, "--from", saved["savepoint"], "--wait", "-q")
    assert done.returncode == 0, done.stderr
    restored = files.json("job", "show", done.stdout.strip())
    assert (restored["action"], restored["parent"]) == ("restore", job_id)
    printed = files("job", "logs", restored["id"]).stdout.splitlines()
    numbers = [int(line) for line in printed if line.isdecimal()]
    assert numbers == list(range(numbers[0], 5000))
    assert numbers[0] > 0
    done = files("job", "restore", job_id, "--from", "nowhere", "--wait")
    assert done.returncode in (1, 3, 4)
    assert "nowhere" in done.stderr


def test_a_jobmanager_that_does_not_answer_is_a_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = JobManagerClient(f"127.0.0.1:{port}", "x" * 40, timeout=0.1)
        with pytest.raises(UnreachableError, match=r"has not answered within 0\.1 s") as caught:
            client.jobs()
    assert exit_code(caught.value) == 6


def test_services_that_registered(files):
    url = files.json("jobmanager", "status")["url"]
    token = (files.folder / "home/config/jobmanager-token").read_text().strip()
    client = JobManagerClient(url, token)
    client.register_service("memory", "http://127.0.0.1:1", kind="memory", ttl=60)
    try:
        [service] = files.json("services", "list")
        assert (service["name"], service["health"]) == ("memory", "healthy")
        lines = files("list", program="sage-services").stdout.splitlines()
        assert lines[0].split() == ["NAME", "KIND", "ADDRESS", "HEALTH", "OWNER", "SEEN"]
        assert lines[1].split()[:4] == ["memory", "memory", "http://127.0.0.1:1", "healthy"]
    finally:
        client.deregister_service("memory")
        client.close()


def test_events_and_metrics_as_they_come(files):
    job = files.json("job", "submit", "-w", "pipeline.yaml")
    events = files.json("job", "events", job["id"])
    states = [event["data"]["status"] for event in events if event["type"] == "status"]
    assert states[-1] == "FINISHED"
    streamed = files("job", "events", "-f", job["id"], "-o", "json").stdout.splitlines()
    assert [json.loads(line) for line in streamed] == events
    documents = files("job", "events", "-f", job["id"], "-o", "yaml").stdout
    assert list(yaml.safe_load_all(documents)) == events
    assert "FINISHED" in files("job", "events", job["id"]).stdout
    newest = files.json("job", "metrics", job["id"])
    assert newest["operators"]
    history = files.json("job", "metrics", "--history", job["id"])
    assert history[-1] == newest
    lines = files("job", "metrics", job["id"]).stdout.splitlines()
    assert lines[0].split()[:3] == ["STEP", "IN", "OUT"]


def test_remove_and_cleanup(files):
    first = files.json("job", "submit", "-w", "pipeline.yaml")["id"]
    second = files.json("job", "submit", "-w", "pipeline.yaml")["id"]
    assert files("job", "remove", first).returncode == 0
    assert files("job", "show", first).returncode == 4
    assert files("job", "cleanup").stdout == ""  # younger than seven days
    would = files.json("job", "cleanup", "--older-than", "0", "--dry-run")
    assert {"id": second} in would
    assert files("job", "show", second).returncode == 0
    removed = files.json("job", "cleanup", "--older-than", "0", "-s", "finished")
    assert {"id": second} in removed
    assert files("job", "show", second).returncode == 4


def test_completion_knows_the_ids(files):
    job = files.json("job", "submit", "-w", "pipeline.yaml")["id"]
    done = files(
        _SAGE_COMPLETE="complete_bash", COMP_WORDS=f"sage job show {job[:-3]}", COMP_CWORD="3"
    )
    assert job in done.stdout.split()
    done = files(
        _SAGE_COMPLETE="complete_bash",
        COMP_WORDS="sage job show job",
        COMP_CWORD="3",
        SAGE_JOBMANAGER_ADDRESS="127.0.0.1:1",
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_progress_on_a_terminal(files, gated):
    job_id, gate = gated
    ours, theirs = pty.openpty()
    waiting = subprocess.Popen(
        files.command("job", "wait", job_id),
        cwd=files.folder,
        env={**files.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while b"running, " not in seen:
        seen += os.read(ours, 4096)
    with gate.open("a") as stream:
        stream.write("END\n")
    out, _ = waiting.communicate(timeout=60)
    os.close(ours)
    assert waiting.returncode == 0
    assert b"\r\x1b[K" in seen
    assert b"FINISHED" in out
    assert b"\x1b" not in out
