"""The live table of a running job, drawn with rich.

Predecessor: ``job.metrics()``; used by ``sage run --watch``. Nothing here keeps time by sleeping:
between two pictures it waits for the end of the job.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sage.common.errors import JobFailedError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

REFRESH = 0.5
"""Seconds between two pictures."""

_COLOURS = {"FAILED": "red", "CANCELED": "yellow", "FINISHED": "green", "RUNNING": "cyan"}


def render(metrics: Mapping[str, Any], previous: Mapping[str, Any] | None = None) -> Table:
    """One picture of a job.

    Args:
        metrics: What ``job.metrics()`` gives.
        previous: An earlier one of the same job; rates are then those since it, else averages.
    """
    from rich import box  # noqa: PLC0415 - rich is for terminals only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    status = str(metrics.get("status", ""))
    seconds = float(metrics.get("seconds") or 0.0)
    title = Text.assemble(
        (str(metrics.get("name", "")), "bold"),
        "  ",
        (status, _COLOURS.get(status, "")),
        f"  {seconds:.1f} s",
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    # Only columns that may wrap are made narrower by rich, so that all fits into 80 columns.
    table.add_column("operator", overflow="ellipsis", min_width=14)
    operators: Mapping[str, Mapping[str, Any]] = metrics.get("operators", {})
    calls = any(numbers.get("in_flight") for numbers in operators.values())
    for heading in ("in", "out", "out/s", "errs", "queue", *(["calls"] if calls else [])):
        table.add_column(heading, justify="right", no_wrap=True, min_width=5)
    for heading in ("busy", "blocked", "p50", "p95"):
        width = 6 if heading.startswith("p") else len(heading)  # "24.9ms"
        table.add_column(heading, justify="right", no_wrap=True, min_width=width)
    before: Mapping[str, Mapping[str, Any]] = (previous or {}).get("operators", {})
    elapsed = seconds - float((previous or {}).get("seconds") or 0.0)
    for name, numbers in operators.items():
        errors = int(numbers.get("errors", 0))
        moved = _moved(numbers) - _moved(before.get(name, {}))
        blocked = float(numbers.get("backpressured", 0.0))
        table.add_row(
            Text(name),
            count(numbers.get("in")),
            count(numbers.get("out")),
            count(moved / elapsed) if elapsed > 0 else "-",
            Text(count(errors), style="red" if errors else ""),
            count(numbers.get("queue")),
            *([count(numbers.get("in_flight"))] if calls else []),
            ratio(numbers.get("busy")),
            Text(ratio(blocked), style="yellow" if blocked >= 0.5 else ""),
            duration(numbers.get("p50")),
            duration(numbers.get("p95")),
        )
    return table


def _moved(numbers: Mapping[str, Any]) -> float:
    # A sink puts nothing out; what it took in is its rate.
    out = numbers.get("out") or 0
    return float(numbers.get("in") or 0) if numbers.get("kind") == "sink" else float(out)


def count(value: float | None) -> str:
    """A number in at most five characters: ``950``, ``12.3k``, ``4.56M``."""
    if value is None:
        return "-"
    size = float(value)
    for unit in ("", "k", "M", "G"):
        if abs(size) < 999.5 or unit == "G":
            break
        size /= 1000
    digits = 0 if (unit == "" and size == int(size)) or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f}{unit}"


def ratio(value: float | None) -> str:
    """A share in percent."""
    return "-" if value is None else f"{value:.0%}"


def duration(seconds: float | None) -> str:
    """A time with its unit: ``850µs``, ``12.0ms``, ``1.50s``."""
    if seconds is None:
        return "-"
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f}µs"
    return f"{seconds * 1e3:.1f}ms" if seconds < 0.9995 else f"{seconds:.2f}s"


def watch(job: Any, console: Console, refresh: float = REFRESH) -> None:
    """Show the table until the job ended. Does not raise what made it fail.

    Args:
        job: A ``Job``.
        console: Where to draw; on something that is no terminal only the last picture is shown.
        refresh: Seconds between two pictures.
    """
    from rich.live import Live  # noqa: PLC0415 - rich is for terminals only

    if not console.is_terminal:
        while not ended(job, 3600.0):
            pass
        console.print(render(job.metrics()))
        return
    previous = job.metrics()
    with Live(
        render(previous),
        console=console,
        auto_refresh=False,
        vertical_overflow="visible",
        redirect_stdout=sys.stdout.isatty(),  # else what the steps print goes where it was sent
        redirect_stderr=sys.stderr.isatty(),
    ) as live:
        while not ended(job, refresh):
            current = job.metrics()
            live.update(render(current, previous), refresh=True)
            previous = current
        live.update(render(job.metrics()), refresh=True)


def ended(job: Any, timeout: float) -> bool:
    """Wait up to ``timeout`` seconds for the end of a job, however it ends."""
    try:
        job.wait(timeout)
    except TimeoutError:
        return bool(job.done())
    except JobFailedError:
        return True
    return True


def progress(metrics: Mapping[str, Any]) -> str:
    """One line about a job: status, seconds, items read and written, errors."""
    operators = metrics.get("operators", {}).values()
    read = sum(int(o.get("out") or 0) for o in operators if o.get("kind") == "source")
    written = sum(int(o.get("in") or 0) for o in operators if o.get("kind") == "sink")
    errors = sum(int(o.get("errors") or 0) for o in operators)
    line = (
        f"{metrics.get('name', '')}: {str(metrics.get('status', '')).lower()}, "
        f"{float(metrics.get('seconds') or 0.0):.1f} s, {read} read, {written} written"
    )
    return line + (f", {errors} errors" if errors else "")
