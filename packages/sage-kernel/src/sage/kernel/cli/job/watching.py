"""``sage job logs | events | metrics``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from sage.common.cli.output import OutputFormat, OutputOption, emit, say
from sage.common.secrets import redact
from sage.kernel.cli.connection import AddressOption, JobArgument, connect, plain
from sage.kernel.cli.shown import emit_rows, moment
from sage.kernel.observe.table import count, duration, progress, ratio

FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on with what comes, until the job has ended.")
]


def logs(
    job_id: JobArgument,
    follow: FollowOption = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="Only the last so many lines.")
    ] = None,
    address: AddressOption = None,
) -> None:
    """Print what a job wrote to its output and log."""
    client = connect(address)
    lines: Iterable[str]
    if follow:
        lines = client.follow_logs(job_id, tail=tail)
    else:
        lines = client.logs(job_id, tail=tail)
    for line in lines:
        write_line(line)


def events(
    job_id: JobArgument,
    follow: FollowOption = False,
    after: Annotated[int, typer.Option(help="Only events with a higher number.", min=0)] = 0,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show what happened to a job.

    With -f and -o json, one object per line.
    """
    client = connect(address)
    if not follow:
        found = [plain(event) for event in client.events(job_id, after=after)]
        emit_rows(found, output, [_event_row(event) for event in found], "there are no events")
        return
    for event in client.follow_events(job_id, after=after):
        data = plain(event)
        emit_one(data, output, "  ".join(str(cell) for cell in _event_row(data).values()))


def metrics(
    job_id: JobArgument,
    follow: FollowOption = False,
    history: Annotated[
        bool, typer.Option("--history", help="All samples that are kept, not only the newest.")
    ] = False,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show the numbers of each step of a job.

    With -f and -o json, one object per line.
    """
    client = connect(address)
    if follow:
        for sample in client.follow_metrics(job_id):
            data = plain(sample)
            emit_one(data, output, progress({"name": data["job"], **data}))
        return
    if history:
        samples = [plain(sample) for sample in client.metrics_history(job_id)]
        rows = [_sample_row(sample) for sample in samples]
        emit_rows(samples, output, rows, "there are no samples yet")
        return
    newest = client.metrics(job_id)
    if output is not OutputFormat.TABLE:
        emit(None if newest is None else plain(newest), output)
        return
    data = {} if newest is None else plain(newest)
    if data:
        say(progress({"name": data["job"], **data}))
    emit_rows([], output, operator_rows(data), "there are no metrics yet")


def write_line(line: str) -> None:
    """One line of a stream, out at once."""
    sys.stdout.write(f"{redact(line)}\n")
    sys.stdout.flush()


def emit_one(data: Mapping[str, Any], output: OutputFormat, text: str) -> None:
    """One element of a stream: a JSON object per line, a YAML document, or a line of text."""
    if output is OutputFormat.JSON:
        write_line(json.dumps(data, ensure_ascii=False, default=str))
    elif output is OutputFormat.YAML:
        write_line("---")
        emit(data, output)
        sys.stdout.flush()
    else:
        write_line(text)


def operator_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps of a sample as rows of a table."""
    return [
        {
            "step": name,
            "in": count(numbers.get("in")),
            "out": count(numbers.get("out")),
            "errors": count(numbers.get("errors")),
            "queue": count(numbers.get("queue")),
            "busy": ratio(numbers.get("busy")),
            "blocked": ratio(numbers.get("backpressured")),
            "p50": duration(numbers.get("p50")),
            "p95": duration(numbers.get("p95")),
        }
        for name, numbers in metrics.get("operators", {}).items()
    ]


def _event_row(event: Mapping[str, Any]) -> dict[str, Any]:
    said = ", ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in event["data"].items()
        if value is not None and (key, value) != ("run", event["job"])
    )
    return {
        "id": event["id"],
        "time": moment(event["time"]),
        "type": event["type"],
        "data": said,
    }


def _sample_row(sample: Mapping[str, Any]) -> dict[str, Any]:
    numbers = list(sample["operators"].values())

    def total(key: str, kind: str | None = None) -> int:
        return sum(int(n.get(key) or 0) for n in numbers if kind is None or n.get("kind") == kind)

    return {
        "time": moment(sample["time"]),
        "attempt": sample["attempt"],
        "status": sample["status"],
        "read": total("out", "source"),
        "written": total("in", "sink"),
        "errors": total("errors"),
    }
