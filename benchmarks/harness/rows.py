"""What a benchmark reports: one row per claim, printed as a table and kept as JSON."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One claim and what was measured.

    Attributes:
        work: What was done, such as ``W4 model calls``.
        measure: What was measured, with its unit.
        rounds: The measurements, one per round.
        goal: What the median must reach; ``None`` where the number is shown only.
        stretch: What it should reach.
        at_least: Larger is better.
        note: A word on how it was measured.
    """

    work: str
    measure: str
    rounds: Sequence[float]
    goal: float | None = None
    stretch: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        return max(self.rounds) if self.at_least else min(self.rounds)

    def reaches(self, bound: float | None) -> bool | None:
        """Whether the median is as good as ``bound``; ``None`` without one."""
        if bound is None:
            return None
        return self.median >= bound if self.at_least else self.median <= bound

    def plain(self) -> dict[str, Any]:
        """The row for JSON."""
        return {
            **self._asdict(),
            "rounds": [float(value) for value in self.rounds],
            "median": float(self.median),
            "best": float(self.best),
            "ok": self.reaches(self.goal),
            "stretched": self.reaches(self.stretch),
        }


HEAD = ("work", "measure", "median", "best", "must", "stretch", "ok?")


def print_table(rows: Sequence[Row]) -> None:
    """One line per row; ``best`` is the best round, ``ok?`` judges the median."""
    lines = [HEAD]
    for row in rows:
        sign = ">=" if row.at_least else "<="
        verdict = {True: "yes", False: "NO", None: ""}[row.reaches(row.goal)]
        if row.reaches(row.stretch):
            verdict = "stretch"
        lines.append(
            (
                row.work,
                row.measure,
                number(row.median),
                number(row.best),
                "" if row.goal is None else f"{sign} {number(row.goal)}",
                "" if row.stretch is None else f"{sign} {number(row.stretch)}",
                verdict,
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    numeric = range(2, 6)
    for line in lines:
        cells = (
            cell.rjust(width) if i in numeric else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(cells).rstrip(), flush=True)
    for row in rows:
        if row.note:
            print(f"  {row.work}, {row.measure}: {row.note}")


def number(value: float) -> str:
    """Three significant digits, whole numbers whole."""
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def write_json(path: Path, rows: Sequence[Row], **facts: Any) -> None:
    """Keep the rows and facts about the run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {**facts, "rows": [row.plain() for row in rows]}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def run_as_script(
    description: str | None,
    measure: Callable[[argparse.Namespace], list[Row]],
    *,
    rounds: int = 5,
    arguments: Callable[[argparse.ArgumentParser], None] | None = None,
) -> None:
    """Command line of one benchmark: ``--rounds``, ``--json PATH`` and its own options.

    Ends with status 1 when a goal is missed.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    if arguments is not None:
        arguments(parser)
    options = parser.parse_args()
    rows = measure(options)
    print_table(rows)
    if options.json is not None:
        write_json(options.json, rows)
    if any(row.reaches(row.goal) is False for row in rows):
        sys.exit(1)
