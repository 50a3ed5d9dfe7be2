"""How times, spans and jobs are shown to people.

Predecessor: the commands; successor: ``sage.common.cli.output``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from sage.common.cli.output import OutputFormat, emit, say, table

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def moment(unix: float | None) -> str | None:
    """A time of this machine's zone, to the second."""
    return None if unix is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix))


def span(seconds: float | None) -> str | None:
    """A span in its two largest units: ``4.2s``, ``3m 05s``, ``2h 10m``, ``5d 03h``."""
    if seconds is None:
        return None
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def parse_span(text: str) -> float:
    """``90``, ``90s``, ``15m``, ``12h``, ``7d`` or ``2w`` in seconds.

    Raises:
        typer.BadParameter: It is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip())
    if match is None:
        raise typer.BadParameter(f"expected a span such as 90s, 15m, 12h or 7d, got {text!r}")
    return float(match[1]) * _UNITS[match[2] or "s"]


def running_time(job: Mapping[str, Any]) -> float | None:
    """Seconds between start and end of a job, or until now."""
    if job["started"] is None:
        return None
    return float((job["ended"] or time.time()) - job["started"])


def emit_rows(
    data: Sequence[Mapping[str, Any]],
    output: OutputFormat,
    rows: Sequence[Mapping[str, Any]],
    empty: str,
) -> None:
    """Print rows: to programs ``data``, to people the table ``rows``, or ``empty`` on stderr."""
    if output is not OutputFormat.TABLE:
        emit(list(data), output)
    elif rows:
        emit(None, output, text=table(rows))
    else:
        say(empty)


def job_row(job: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a job in a list."""
    return {
        "id": job["id"],
        "name": job["name"],
        "status": job["status"],
        "action": job["action"],
        "submitted": moment(job["submitted"]),
        "time": span(running_time(job)),
        "attempts": job["attempt"],
    }


def job_facts(job: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of one job, one per line."""
    facts = {
        "id": job["id"],
        "name": job["name"],
        "status": job["status"],
        "kind": job["kind"],
        "action": job["action"],
        "parent": job["parent"],
        "priority": job["priority"] or None,
        "submitted": moment(job["submitted"]),
        "started": moment(job["started"]),
        "ended": moment(job["ended"]),
        "time": span(running_time(job)),
        "attempts": job["attempt"],
        "error": job["error"],
        "folder": job["folder"],
    }
    return {key: value for key, value in facts.items() if value not in (None, "")}
