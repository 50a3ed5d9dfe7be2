"""The JobManager of this machine: start, stop, status, logs."""

from __future__ import annotations

import errno
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from sage.common.cli.output import ExitCode, OutputFormat, OutputOption, emit, error, say
from sage.common.errors import ServiceError
from sage.common.serving.listening import is_loopback
from sage.kernel.cli.connection import plain
from sage.kernel.cli.job.watching import write_line
from sage.kernel.cli.shown import moment

if TYPE_CHECKING:
    from sage.kernel.jobmanager.launch import DaemonState
    from sage.kernel.jobmanager.model import DaemonInfo

app = typer.Typer(
    help="The JobManager of this machine: start, stop, status, logs.", no_args_is_help=True
)

HostOption = Annotated[
    str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.", show_default=False)
]
PortOption = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="Port; 0 for any; default: 19001.", show_default=False),
]
DataOption = Annotated[
    Path | None, typer.Option(help="Folder of its jobs; default: that of the settings.")
]
StartTimeout = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Give up after it.")]


class Fate(StrEnum):
    """What becomes of the jobs when their JobManager stops."""

    KEEP = "keep"
    SUSPEND = "suspend"
    CANCEL = "cancel"


JobsOption = Annotated[
    Fate,
    typer.Option(
        help="What becomes of running jobs: keep (they run on), suspend (they go on from a "
        "checkpoint at the next start), cancel."
    ),
]


@app.command()
def start(
    host: HostOption = None,
    port: PortOption = None,
    data_dir: DataOption = None,
    timeout: StartTimeout = 30.0,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, until Ctrl-C or SIGTERM: for containers.")
    ] = False,
    output: OutputOption = OutputFormat.TABLE,
) -> int:
    """Start the JobManager in the background and return when it is ready."""
    if foreground:
        serve_here(host, port, data_dir)
        return ExitCode.OK
    return start_here(host, port, data_dir, timeout, output)


def start_here(
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    timeout: float,
    output: OutputFormat,
) -> int:
    """Start the daemon unless it runs; print what it says about itself."""
    from sage.kernel.jobmanager.launch import (  # noqa: PLC0415
        DEFAULT_PORT,
        daemon_state,
        start_daemon,
    )

    state = daemon_state(data_dir=data_dir)
    if state.running and state.healthy and state.info is not None:
        show_daemon(state.info, output)
        if not _is_at(state.info.url, host, port):
            error(
                f"the JobManager runs already, at {state.info.url}; "
                "`sage jobmanager restart` with the same options moves it"
            )
            return ExitCode.FAILURE
        say("the JobManager runs already")
        return ExitCode.OK
    if state.running:
        return trouble(state)
    try:
        info = start_daemon(host=host, port=port, data_dir=data_dir, timeout=timeout)
    except ServiceError as exc:
        if port is not None and exc.data.get("errno") in (errno.EACCES, errno.EADDRINUSE):
            say(f"without --port it listens on {DEFAULT_PORT}, if nothing else does")
        raise
    show_daemon(info, output)
    say("the JobManager is ready; `sage jobmanager stop` ends it")
    return ExitCode.OK


def _is_at(url: str, host: str | None, port: int | None) -> bool:
    """Whether a daemon listens where it was asked to."""
    parts = urlsplit(url)
    there = str(parts.hostname)
    same = host in (None, there) or (is_loopback(str(host)) and is_loopback(there))
    return same and port in (None, 0, parts.port)


def serve_here(host: str | None, port: int | None, data_dir: Path | None) -> None:
    """Be the daemon."""
    from sage.kernel.jobmanager.daemon import run_daemon  # noqa: PLC0415 - FastAPI
    from sage.kernel.jobmanager.settings import jobmanager_settings  # noqa: PLC0415

    named = {"host": host, "port": port, "data_dir": data_dir and str(data_dir.absolute())}
    given = {key: value for key, value in named.items() if value is not None}
    run_daemon(
        jobmanager_settings(given),
        lambda url: say(f"the JobManager is ready at {url}; Ctrl-C ends it, jobs run on"),
        given,
    )


@app.command()
def stop(
    jobs: JobsOption = Fate.KEEP,
    data_dir: DataOption = None,
    timeout: StartTimeout = 30.0,
) -> None:
    """Stop the JobManager and return when its process has gone."""
    stop_here(jobs, data_dir, timeout)


def stop_here(jobs: Fate, data_dir: Path | None, timeout: float) -> None:
    """Stop the daemon if it runs, and say what became of it."""
    from sage.kernel.jobmanager.launch import stop_daemon  # noqa: PLC0415

    there = stop_daemon(data_dir=data_dir, jobs=jobs.value, timeout=timeout)
    say("the JobManager has stopped" if there else "no JobManager runs here")


@app.command()
def restart(
    host: HostOption = None,
    port: PortOption = None,
    data_dir: DataOption = None,
    timeout: StartTimeout = 30.0,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Stop the JobManager, if it runs, and start it; running jobs run on."""
    from sage.kernel.jobmanager.launch import restart_daemon  # noqa: PLC0415

    show_daemon(restart_daemon(host=host, port=port, data_dir=data_dir, timeout=timeout), output)
    say("the JobManager is ready")


@app.command()
def status(data_dir: DataOption = None, output: OutputOption = OutputFormat.TABLE) -> int:
    """Show whether the JobManager runs and is healthy.

    Exit codes: 0 healthy, 7 not running, 8 runs but is not healthy.
    """
    from sage.kernel.jobmanager.launch import daemon_state  # noqa: PLC0415

    state = daemon_state(data_dir=data_dir)
    if output is OutputFormat.TABLE:
        emit(state_facts(state), output)
    else:
        emit({**plain(state), "log": str(state.log)}, output)
    return trouble(state)


def trouble(state: DaemonState) -> int:
    """Say what is wrong with a daemon and what to do; the exit code for it."""
    if not state.running:
        say("the JobManager does not run; `sage jobmanager start` starts it")
        return ExitCode.UNREACHABLE
    if state.healthy and state.problem is None:
        return ExitCode.OK
    error(state.problem or "Health check failed: run `sage jobmanager restart`")
    return ExitCode.PROBLEMS


@app.command()
def logs(
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Last lines.")] = None,
    data_dir: DataOption = None,
) -> None:
    """Print the JobManager's own log."""
    from sage.kernel.jobmanager.launch import daemon_log  # noqa: PLC0415

    for line in daemon_log(data_dir=data_dir, tail=tail):
        write_line(line)


def show_daemon(info: DaemonInfo, output: OutputFormat) -> None:
    """Print what a daemon says about itself."""
    data = plain(info)
    emit(daemon_facts(data) if output is OutputFormat.TABLE else data, output)


def daemon_facts(info: dict[str, Any]) -> dict[str, Any]:
    """The facts about a daemon, one per line."""
    jobs = ", ".join(f"{count} {status}" for status, count in info["jobs"].items() if count)
    return {
        "status": "running",
        "url": info["url"],
        "pid": info["pid"],
        "started": moment(info["started"]),
        "version": f"{info['version']} (Python {info['python']})",
        "jobs": jobs or "none",
        "running": f"{info['running']} of {info['max_jobs']}",
        "data": info["data_dir"],
        "log": info["log"],
    }


def state_facts(state: DaemonState) -> dict[str, Any]:
    """The facts about the daemon of a folder, one per line."""
    if state.healthy and state.info is not None:
        return daemon_facts(plain(state.info))
    return {
        "status": "ill" if state.running else "not running",
        "url": state.url,
        "pid": state.pid,
        "log": str(state.log),
    }
