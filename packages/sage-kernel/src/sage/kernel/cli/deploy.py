"""The SAGE system of this machine: start, stop, status."""

from __future__ import annotations

from typing import Any

import typer

from sage.common.cli.output import OutputFormat, OutputOption, emit, say
from sage.kernel.cli.connection import plain
from sage.kernel.cli.jobmanager import (
    DataOption,
    Fate,
    HostOption,
    JobsOption,
    PortOption,
    StartTimeout,
    start_here,
    stop_here,
    trouble,
)

app = typer.Typer(
    help="The SAGE system of this machine: start, stop, status.", no_args_is_help=True
)

_NO_RAY = "Ray is not started: this version runs each job in a process of this machine"


@app.command()
def start(
    host: HostOption = None,
    port: PortOption = None,
    data_dir: DataOption = None,
    timeout: StartTimeout = 30.0,
    output: OutputOption = OutputFormat.TABLE,
) -> int:
    """Start the system: the JobManager."""
    say(_NO_RAY)
    return start_here(host, port, data_dir, timeout, output)


@app.command()
def stop(
    jobs: JobsOption = Fate.SUSPEND,
    data_dir: DataOption = None,
    timeout: StartTimeout = 30.0,
) -> None:
    """Stop the system: the JobManager, and its jobs until the next start."""
    stop_here(jobs, data_dir, timeout)


@app.command()
def status(data_dir: DataOption = None, output: OutputOption = OutputFormat.TABLE) -> int:
    """Show whether each part of the system runs.

    Exit codes: 0 healthy, 7 not running, 8 runs but is not healthy.
    """
    from sage.kernel.jobmanager.launch import daemon_state  # noqa: PLC0415

    state = daemon_state(data_dir=data_dir)
    running = "running" if state.healthy else "ill" if state.running else "not running"
    rows: list[dict[str, Any]] = [
        {"component": "jobmanager", "status": running, "detail": state.url},
        {"component": "ray", "status": "not used", "detail": _NO_RAY},
    ]
    if state.healthy and state.info is not None:
        info = plain(state.info)
        detail = f"{info['running']} of {info['max_jobs']} running"
        rows.insert(1, {"component": "jobs", "status": "ok", "detail": detail})
    emit(rows, output)
    return trouble(state)
