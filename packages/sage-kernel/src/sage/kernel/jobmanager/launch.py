"""Starting a JobManager in the background and ending it.

Predecessor: the commands; successor: ``sage.kernel.jobmanager.daemon`` in a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from sage.kernel.jobmanager.model import DaemonInfo

DEFAULT_PORT = 19001


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


def restart_daemon(
    *,
    host: str | None = None,
    port: int | None = None,
    data_dir: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    timeout: float = 30.0,
) -> DaemonInfo:
    """``stop_daemon`` with ``jobs="keep"`` and ``start_daemon``; works when none runs."""


def daemon_state(*, data_dir: str | Path | None = None) -> DaemonState:
    """What is known about the daemon of a data folder; asks it when it lives."""


def daemon_log(*, data_dir: str | Path | None = None, tail: int | None = None) -> list[str]:
    """Lines of the daemon's log, oldest first."""
