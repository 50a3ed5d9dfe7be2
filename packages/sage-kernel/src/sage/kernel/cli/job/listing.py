"""``sage job list | show | status | wait``."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer

from sage.common.cli.output import OutputFormat, OutputOption, emit, style, table
from sage.kernel.cli.connection import AddressOption, JobArgument, connect, job_ids, plain
from sage.kernel.cli.job.following import TimeoutOption, finish
from sage.kernel.cli.job.local import StoreOption, run_row, runs
from sage.kernel.cli.job.watching import operator_rows
from sage.kernel.cli.shown import emit_rows, job_facts, job_row, moment, span


def list_jobs(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", "-s", help="Only in this state; may be repeated."),
    ] = None,
    active: Annotated[
        bool, typer.Option("--active", help="Only jobs that have not ended.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Only of this name.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most.")] = 100,
    store: StoreOption = None,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """List the jobs, newest first; with --store the runs of this machine."""
    states = [each.upper() for each in status or ()]
    if store is not None:
        if active:
            raise typer.BadParameter("--active is for jobs: nobody watches the runs of --store")
        known = [facts for facts in runs(store) if name in (None, facts["name"])]
        known = [facts for facts in known if not states or facts.get("status") in states][:limit]
        emit_rows(known, output, [run_row(facts) for facts in known], "there are no such runs")
        return
    wanted = ["active"] if active else states
    jobs = [plain(j) for j in connect(address).jobs(status=wanted or None, name=name, limit=limit)]
    chosen = "such jobs" if wanted or name else "jobs"
    emit_rows(jobs, output, [job_row(job) for job in jobs], f"there are no {chosen}")


def show(
    job_id: JobArgument, address: AddressOption = None, output: OutputOption = OutputFormat.TABLE
) -> None:
    """Show a job: its state, its processes and its steps."""
    client = connect(address)
    job = client.job(job_id)
    sample = client.metrics(job.id)
    data = plain(job)
    data["metrics"] = None if sample is None else plain(sample)
    emit(data, output, text=_text(data) if output is OutputFormat.TABLE else None)


def _text(data: dict[str, Any]) -> str:
    facts = job_facts(data)
    width = max(map(len, facts))
    lines = [f"{key:<{width}}  {value}" for key, value in facts.items()]
    if data["attempts"]:
        lines += ["", style("Attempts", "bold"), table([_attempt(a) for a in data["attempts"]])]
    if data["metrics"] is not None:
        lines += ["", style("Steps", "bold"), table(operator_rows(data["metrics"]))]
    return "\n".join(lines)


def _attempt(attempt: dict[str, Any]) -> dict[str, Any]:
    ended = attempt["ended"]
    return {
        "number": attempt["number"],
        "status": attempt["status"],
        "pid": attempt["pid"],
        "started": moment(attempt["started"]),
        "time": None if ended is None else span(ended - attempt["started"]),
        "exit": attempt["exit"],
        "error": attempt["error"],
    }


def status(
    job_id: Annotated[
        str | None,
        typer.Argument(metavar="JOB", help="Id of a job; default: all.", autocompletion=job_ids),
    ] = None,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show the state of a job, or how many jobs are in which."""
    client = connect(address)
    if job_id is not None:
        job = client.job(job_id)
        text = job.status if output is OutputFormat.TABLE else None
        emit({"id": job.id, "status": job.status, "error": job.error}, output, text=text)
        return
    counts = Counter(client.status().jobs)
    rows = [{"status": name, "jobs": count} for name, count in sorted(counts.items()) if count]
    emit_rows(rows, output, rows, "there are no jobs")


def wait(
    job_id: JobArgument,
    timeout: TimeoutOption = None,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Wait for the end of a job; the exit code tells its result."""
    client = connect(address)
    finish(client, client.job(job_id).id, output, timeout=timeout)
