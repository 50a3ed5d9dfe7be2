"""A real daemon per test, in a home of its own, and jobs that wait until a test lets them go."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.jobmanager.client import JobManagerClient
from sage.kernel.jobmanager.launch import daemon_log, start_daemon, stop_daemon
from sage.kernel.jobmanager.model import JobInfo

pytest.importorskip("fastapi")

QUICK = {
    "metrics_interval": 0.1,
    "cancel_timeout": 2.0,
    "restart": {"strategy": "fixed_delay", "attempts": 3, "delay": 0},
}


class Daemon:
    """A JobManager of a test."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = dict(QUICK)
        self.url = ""
        self.pid = 0

    def start(self, **settings: Any) -> JobManagerClient:
        self.settings |= settings
        info = start_daemon(port=0, settings=self.settings)
        self.url, self.pid = info.url, info.pid
        return self.client()

    def client(self) -> JobManagerClient:
        return JobManagerClient(self.url)

    def kill(self) -> None:
        """End it as a crash does."""
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SAGE_JOBMANAGER_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    made = Daemon()
    yield made
    try:
        if made.url:
            stop_daemon(jobs="cancel")
    except Exception:
        print("\n".join(daemon_log(tail=50)))
        raise


@pytest.fixture
def client(daemon: Daemon) -> JobManagerClient:
    return daemon.start()


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a program into a folder of its own."""

    def write(text: str, name: str = "job.py") -> Path:
        path = tmp_path / "program" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write


class Until:
    """Waits for a condition of another process; whether it comes is what is tested."""

    def __call__(self, condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"never: {what}")

    def status(self, client: JobManagerClient, job: JobInfo | str, *statuses: str) -> JobInfo:
        job_id = job if isinstance(job, str) else job.id
        seen: list[str] = []

        def reached() -> JobInfo | None:
            now = client.job(job_id)
            seen.append(now.status)
            return now if now.status in statuses else None

        found: JobInfo = self(reached, f"{job_id} in {statuses}")
        return found


@pytest.fixture
def until() -> Until:
    return Until()
