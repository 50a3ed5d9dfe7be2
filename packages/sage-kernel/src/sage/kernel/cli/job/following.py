"""Waiting for a job, and mirroring how it ended in the exit code.

Predecessor: the commands that submit; successor: ``sage.kernel.jobmanager.client``.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from sage.common.cli.output import OutputFormat, emit, say
from sage.common.errors import SageError
from sage.kernel.cli.connection import plain
from sage.kernel.cli.shown import job_facts

if TYPE_CHECKING:
    from sage.kernel.jobmanager.client import JobManagerClient
    from sage.kernel.jobmanager.model import JobInfo

WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait", "-w", help="Wait for its end; the exit code tells how it ended (3: failed)."
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="SECONDS", help="Give up waiting after so long (exit code 6); it goes on."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print the id of the job only.")]


def submitted(
    client: JobManagerClient,
    job: JobInfo,
    output: OutputFormat,
    *,
    quiet: bool,
    wait: bool,
    timeout: float | None,
) -> None:
    """Say what became of a submission: at once, or with ``wait`` when the job has ended.

    Raises:
        JobFailedError: ``wait``, and it failed.
        JobCanceledError: ``wait``, and it was canceled.
        TimeoutError: ``wait``, and it has not ended after ``timeout`` seconds.
    """
    if wait:
        finish(client, job.id, output, timeout=timeout, quiet=quiet)
        return
    show_job(job, output, quiet=quiet)
    if output is OutputFormat.TABLE and not quiet:
        say(f"follow it with `sage job logs -f {job.id}`")


def finish(
    client: JobManagerClient,
    job_id: str,
    output: OutputFormat,
    *,
    timeout: float | None,
    quiet: bool = False,
) -> None:
    """Wait for the end of a job, print it and mirror its result. Raises as ``submitted``."""
    from sage.kernel.jobmanager.client import raise_for_status  # noqa: PLC0415 - not for help

    watcher = _Progress(client, job_id)
    try:
        with watcher:
            job = client.wait(job_id, timeout)
    except KeyboardInterrupt:
        say(f"the job {job_id} goes on; `sage job stop {job_id}` ends it")
        raise
    show_job(job, output, quiet=quiet)
    raise_for_status(job)


def show_job(job: JobInfo, output: OutputFormat, *, quiet: bool = False) -> None:
    """Print a job, or with ``quiet`` its id."""
    data = plain(job)
    if quiet:
        emit(job.id)
    elif output is OutputFormat.TABLE:
        emit(job_facts(data), output)
    else:
        emit(data, output)


class _Progress:
    """One line about the job on stderr, while the block runs, if that is a terminal."""

    def __init__(self, client: JobManagerClient, job_id: str) -> None:
        self._client = client
        self._job_id = job_id
        self._over = threading.Event()
        self._shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def __enter__(self) -> None:
        say(f"waiting for {self._job_id}")
        if self._shown:
            threading.Thread(target=self._follow, name="sage-progress", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._shown:
            sys.stderr.write("\r\x1b[K")

    def _follow(self) -> None:
        from sage.kernel.observe.table import progress  # noqa: PLC0415 - not for help

        try:
            for sample in self._client.follow_metrics(self._job_id):
                if self._over.is_set():
                    return
                line = progress({"name": self._job_id, **plain(sample)})
                sys.stderr.write(f"\r\x1b[K{line}")
                sys.stderr.flush()
        except SageError:
            return  # who waits is told; this is only a picture
