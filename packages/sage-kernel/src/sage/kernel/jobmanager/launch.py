"""Starting a JobManager in the background and ending it.

Predecessor: the commands; successor: ``sage.kernel.jobmanager.daemon`` in a process of its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from sage.common.errors import JobError, MissingExtraError, SageError, ServiceError
from sage.common.paths import ensure_dir
from sage.kernel.jobmanager.client import JobManagerClient
from sage.kernel.jobmanager.failures import from_wire
from sage.kernel.jobmanager.layout import STATE_KEYS, Home
from sage.kernel.jobmanager.logs import read_lines
from sage.kernel.jobmanager.model import DaemonInfo
from sage.kernel.jobmanager.process import alive, kill_group, wait_gone
from sage.kernel.jobmanager.settings import DEFAULT_PORT, jobmanager_settings

__all__ = [
    "DEFAULT_PORT",
    "DaemonState",
    "client_here",
    "daemon_log",
    "daemon_state",
    "restart_daemon",
    "start_daemon",
    "stop_daemon",
]


@attrs.frozen(kw_only=True)
class DaemonState:
    """What is known about a daemon of a data folder, whether or not it answers.

    Attributes:
        running: Its process lives.
        healthy: It answers its health check.
        pid: Of the process, or ``None``.
        url: Where it listens, or listened last.
        log: Its log file.
        problem: What is wrong, with what to do; ``None`` if nothing is.
        info: What it says about itself, when it is healthy and the token fits.
    """

    running: bool
    healthy: bool
    pid: int | None
    url: str | None
    log: Path
    problem: str | None = None
    info: DaemonInfo | None = None


def start_daemon(
    *,
    host: str | None = None,
    port: int | None = None,
    data_dir: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    timeout: float = 30.0,
) -> DaemonInfo:
    """Start a daemon in the background and return when it is ready.

    Args:
        host: Address to bind; default: the setting ``jobmanager.host``, 127.0.0.1.
        port: Port, 0 for any free one; default: ``jobmanager.port``, 19001.
        data_dir: Its folder; default: ``jobmanager.data_dir``, ``DATA/jobmanager``.
        settings: Over the section ``jobmanager`` of the settings files.
        timeout: Seconds until it must be ready.

    Raises:
        JobError: A daemon runs already on that folder.
        ServiceError: It cannot start; the message has the reason (``Permission denied`` on a port
            is explained) and the log file.
        MissingExtraError: FastAPI or uvicorn is not installed.
    """
    overrides = _overrides(host=host, port=port, data_dir=data_dir, settings=settings)
    whole = jobmanager_settings(overrides)
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "server", "the JobManager")
    home = Home(whole.data_dir)
    ensure_dir(home.path)
    read, write = os.pipe()
    try:
        with home.log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [
                    sys.executable,
                    "-P",  # no module of the current folder is one of the daemon's
                    "-m",
                    "sage.kernel.jobmanager.daemon",
                    json.dumps(overrides, default=str),
                    str(write),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=Path.cwd(),
                pass_fds=(write,),
                start_new_session=True,
            )
    finally:
        os.close(write)
    try:
        said = _first_line(read, timeout)
    finally:
        os.close(read)
    if said is None or "url" not in said:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise _not_started(said, home, timeout)
    process.returncode = 0  # it outlives us: nothing to wait for, and nothing to warn of
    return _client(said["url"], whole.certfile).status()


def stop_daemon(
    *, data_dir: str | Path | None = None, jobs: str = "keep", timeout: float = 30.0
) -> bool:
    """End the daemon of a data folder and return when its process has gone.

    Args:
        data_dir: Its folder.
        jobs: ``keep``, ``suspend`` or ``cancel``, see ``JobManagerClient.shutdown``.
        timeout: Seconds; after them the process is killed (its jobs are found again).

    Returns:
        Whether there was one.
    """
    settings = jobmanager_settings(_overrides(data_dir=data_dir))
    facts = _facts(Home(settings.data_dir))
    if facts is None:
        return False
    pid, started = int(facts["pid"]), str(facts["process_started"])
    try:
        _client(facts["url"], facts.get("certfile")).shutdown(jobs)
    except SageError:
        if jobs != "keep":
            raise
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    if not wait_gone(pid, started, timeout):
        kill_group(pid, started)
        wait_gone(pid, started)
    _reap(pid)
    return True


def restart_daemon(
    *,
    host: str | None = None,
    port: int | None = None,
    data_dir: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    timeout: float = 30.0,
) -> DaemonInfo:
    """``stop_daemon`` with ``jobs="keep"`` and ``start_daemon``; works when none runs.

    What the old one was told when it was started holds for the new one too, unless it is said
    otherwise; all else is as the settings files are now.
    """
    facts = _facts(Home(jobmanager_settings(_overrides(data_dir=data_dir)).data_dir))
    given = {} if facts is None else dict(facts.get("given") or {})
    if facts is not None and "port" in given:
        given["port"] = urlsplit(facts["url"]).port
    given.update(_overrides(host=host, port=port, data_dir=data_dir, settings=settings))
    jobmanager_settings(given)  # what is wrong with them is told before the old one ends
    stop_daemon(data_dir=data_dir, timeout=timeout)
    return start_daemon(settings=given, timeout=timeout)


def client_here(
    *, data_dir: str | Path | None = None, timeout: float = 30.0
) -> JobManagerClient | None:
    """A client of the daemon of a data folder, on whatever port; ``None`` when none runs.

    Args:
        data_dir: Its folder.
        timeout: Seconds without a byte from it.
    """
    settings = jobmanager_settings(_overrides(data_dir=data_dir))
    facts = _facts(Home(settings.data_dir))
    return None if facts is None else _client(facts["url"], facts.get("certfile"), timeout)


def daemon_state(*, data_dir: str | Path | None = None) -> DaemonState:
    """What is known about the daemon of a data folder; asks it when it lives."""
    settings = jobmanager_settings(_overrides(data_dir=data_dir))
    home = Home(settings.data_dir)
    facts = _facts(home)
    if facts is None:
        return DaemonState(
            running=False,
            healthy=False,
            pid=None,
            url=None,
            log=home.log,
            problem="it does not run; start it with: sage jobmanager start",
        )
    known: dict[str, Any] = {
        "running": True,
        "pid": facts["pid"],
        "url": facts["url"],
        "log": home.log,
    }
    client = _client(facts["url"], facts.get("certfile"))
    try:
        client.health()
    except ServiceError as exc:
        problem = str(exc)
        if "Health check failed" not in problem:
            problem = f"Health check failed: {problem}; restart it with: sage jobmanager restart"
        return DaemonState(healthy=False, problem=problem, **known)
    try:
        return DaemonState(healthy=True, info=client.status(), **known)
    except SageError as exc:
        return DaemonState(healthy=True, problem=str(exc), **known)


def daemon_log(*, data_dir: str | Path | None = None, tail: int | None = None) -> list[str]:
    """Lines of the daemon's log, oldest first."""
    settings = jobmanager_settings(_overrides(data_dir=data_dir))
    return read_lines(Home(settings.data_dir).log, tail)


def _overrides(
    *,
    host: str | None = None,
    port: int | None = None,
    data_dir: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    named = {
        "host": host,
        "port": port,
        "data_dir": None if data_dir is None else str(Path(data_dir).expanduser().absolute()),
    }
    return {**(settings or {}), **{k: v for k, v in named.items() if v is not None}}


def _facts(home: Home) -> dict[str, Any] | None:
    """Content of the pid file, if it is one and the process it names lives."""
    try:
        facts = json.loads(home.state.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict) or not facts.keys() >= STATE_KEYS:
        return None
    return facts if alive(facts["pid"], facts["process_started"]) else None


def _client(url: str, certfile: str | Path | None, timeout: float = 30.0) -> JobManagerClient:
    parts = urlsplit(url)
    for every, here in (("0.0.0.0", "127.0.0.1"), ("::", "[::1]")):  # noqa: S104 - what it binds
        if parts.hostname == every:
            url = f"{parts.scheme}://{here}:{parts.port}"
    return JobManagerClient(url, cafile=certfile, timeout=timeout)


def _first_line(handle: int, timeout: float) -> dict[str, Any] | None:
    data = b""
    while not data.endswith(b"\n"):
        if not select.select([handle], [], [], timeout)[0]:
            return None
        chunk = os.read(handle, 4096)
        if not chunk:
            return {}
        data += chunk
    said: dict[str, Any] = json.loads(data)
    return said


def _not_started(said: dict[str, Any] | None, home: Home, timeout: float) -> SageError:
    if said:
        error = from_wire(said)
        if isinstance(error, JobError):
            return error
        error.message = f"{error} (log: {home.log})"
        return error
    last = "\n  ".join(read_lines(home.log, 15))
    why = f"was not ready after {timeout:g} s" if said is None else "ended while it started"
    return ServiceError(f"the JobManager {why}; its log {home.log} ends:\n  {last}")


def _reap(pid: int) -> None:
    """Take the exit code of a daemon that this very process started."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
