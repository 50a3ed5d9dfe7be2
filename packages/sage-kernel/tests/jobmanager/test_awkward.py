"""Awkward input and awkward ends: what a client or a job must not be able to break."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import ConfigError
from sage.kernel.jobmanager.client import JobManagerClient
from sage.kernel.jobmanager.process import alive, start_time

Program = Callable[[str], Path]

IDLE = "import time\nprint('here', flush=True)\nwhile True:\n    time.sleep(0.05)\n"


def test_text_that_is_no_unicode_does_not_stop_the_daemon(
    daemon: Any, program: Program, until: Any
) -> None:
    client = daemon.start(max_jobs=1)
    bad = client.submit_program(program("raise ValueError('a file called \\udcff')\n"))
    job = client.wait(bad.id, 60)
    assert job.status == "FAILED"
    assert "a file called ?" in str(job.error)
    assert any(event.type == "result" for event in client.events(bad.id))
    # The place is free again, and the next daemon starts.
    assert client.wait(client.submit_program(program("print(1)\n")).id, 60).status == "FINISHED"


def test_variables_that_no_process_can_have_are_refused(daemon: Any, program: Program) -> None:
    client = daemon.start()
    with pytest.raises(ConfigError, match="environment: 'A'"):
        client.submit_program(program(IDLE), environment={"A": "\ud800"})


def test_numbers_beyond_the_store_are_refused(daemon: Any, program: Program) -> None:
    client = daemon.start()
    with pytest.raises(ConfigError, match="priority"):
        client.submit_program(program(IDLE), priority=2**70)
    job = client.submit_program(program(IDLE))
    assert client.events(job.id, after=2**70) == []
    for seconds in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="timeout"):
            client.cancel(job.id, timeout=seconds)
    assert client.job(job.id).status != "CANCELING"


def test_services_say_what_json_can_hold(client: JobManagerClient) -> None:
    client.register_service("a", "http://127.0.0.1:1", metadata={"name": "\ud800"})
    assert [service.name for service in client.services()] == ["a"]


def test_a_child_that_outlives_its_job_does_not_keep_it_running(
    daemon: Any, program: Program, until: Any
) -> None:
    client = daemon.start(restart={"strategy": "none"})
    forks = "import os\nif os.fork() == 0:\n    import time\n    time.sleep(1000)\n"
    job = client.submit_program(program(forks + IDLE))
    until(lambda: "here" in client.logs(job.id), "the job runs")
    pid = client.job(job.id).attempts[-1].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert "SIGKILL" in str(until.status(client, job, "FAILED").error)


def test_what_a_job_left_behind_is_ended_by_a_later_daemon_too(
    daemon: Any, program: Program, until: Any
) -> None:
    client = daemon.start(restart={"strategy": "none"})
    text = "import subprocess, sys\nprint(subprocess.Popen(['sleep', '1000']).pid, flush=True)\n"
    job = client.submit_program(program(text + IDLE))
    child = int(until(lambda: "here" in client.logs(job.id) and client.logs(job.id)[0], "its log"))
    pid = client.job(job.id).attempts[-1].pid
    daemon.kill()
    client = daemon.start()
    assert alive(child, start_time(child))
    os.kill(int(pid), signal.SIGKILL)
    until.status(client, job, "FAILED")
    until(lambda: start_time(child) is None, "the child has ended, too")
