"""``sage job stop | pause | resume | savepoint | remove | cleanup``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sage.common.cli.output import OutputFormat, OutputOption, emit, say
from sage.kernel.cli.connection import AddressOption, JobArgument, JobArguments, connect, plain
from sage.kernel.cli.job.following import show_job
from sage.kernel.cli.job.local import StoreOption, clean_up
from sage.kernel.cli.shown import emit_rows, job_row, parse_span

if TYPE_CHECKING:
    from sage.kernel.jobmanager.client import JobManagerClient
    from sage.kernel.jobmanager.model import JobInfo


def stop(
    job_ids: JobArguments,
    savepoint: Annotated[
        bool, typer.Option("--savepoint", help="Write a savepoint of each first.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Kill its process if it goes on for so long."),
    ] = 10.0,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Cancel jobs and wait until they have ended."""
    client = connect(address, timeout=60.0)  # a savepoint takes its time
    stopped = []
    for job_id in job_ids:
        job = client.job(job_id)
        if job.done:
            say(f"{job.id} had ended already: {job.status}")
        else:
            if savepoint:
                say(f"savepoint of {job.id}: {client.savepoint(job.id)}")
            client.cancel(job.id, timeout=timeout)
            job = client.wait(job.id)
        stopped.append(plain(job))
    emit_rows(stopped, output, [job_row(job) for job in stopped], "there are no such jobs")


def pause(
    job_id: JobArgument, address: AddressOption = None, output: OutputOption = OutputFormat.TABLE
) -> None:
    """Let the sources of a job wait; what is on its way goes on."""
    client = connect(address)
    show_job(_reached(client, client.pause(job_id), "PAUSED"), output)


def resume(
    job_id: JobArgument, address: AddressOption = None, output: OutputOption = OutputFormat.TABLE
) -> None:
    """Let a paused job go on."""
    client = connect(address)
    show_job(_reached(client, client.resume(job_id), "RUNNING"), output)


def _reached(client: JobManagerClient, job: JobInfo, status: str) -> JobInfo:
    """The job when it is in the state it was asked to go to, or has ended."""
    if job.status == status or job.done:
        return job
    for _ in client.follow_events(job.id):
        job = client.job(job.id)
        if job.status == status:
            break
    return job


def savepoint(
    job_id: JobArgument,
    name: Annotated[
        str | None, typer.Option(help="Name of its folder; default: the time.", show_default=False)
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help="Give up waiting for it after so long."),
    ] = 60.0,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Write a savepoint of a running job and print its path.

    The path is one of the JobManager's machine.
    """
    path = connect(address, timeout=timeout).savepoint(job_id, name)
    emit({"job": job_id, "savepoint": path}, output, text=path)


def remove(job_ids: JobArguments, address: AddressOption = None) -> None:
    """Remove jobs that have ended, with their folders."""
    client = connect(address)
    for job_id in job_ids:
        full = client.job(job_id).id
        client.remove(full)
        say(f"removed {full}")


def cleanup(
    older_than: Annotated[
        str, typer.Option(metavar="SPAN", help="Ended so long ago, at least: 0, 90s, 12h, 7d.")
    ] = "7d",
    status: Annotated[
        list[str] | None,
        typer.Option("--status", "-s", help="Only in this state; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    store: StoreOption = None,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Remove jobs that ended some time ago, with their folders and calls; or runs of --store."""
    states = [each.upper() for each in status or ("FINISHED", "FAILED", "CANCELED")]
    seconds = parse_span(older_than)
    if store is not None:
        removed = clean_up(store, seconds, states, dry_run=dry_run)
    else:
        removed = connect(address).cleanup(older_than=seconds, status=states, dry_run=dry_run)
    rows = [{"id": job_id} for job_id in removed]
    emit_rows(rows, output, rows, "there is nothing to remove")
    if removed:
        say(f"{'would remove' if dry_run else 'removed'} {len(removed)}")
