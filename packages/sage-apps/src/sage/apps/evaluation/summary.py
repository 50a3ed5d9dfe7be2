"""From the results of a run to its totals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sage.lib.evaluate.aggregate import Summary, summarize
from sage.lib.evaluate.bleu import corpus_bleu
from sage.lib.evaluate.resampling import RESAMPLES


def summaries(rows: Iterable[Mapping[str, Any]], *, seed: int | None = None) -> dict[str, Summary]:
    """Mean and bootstrap interval of every score, in the order in which they first appear."""
    rows = list(rows)
    values: dict[str, list[float | None]] = {}
    for row in rows:
        for name in row["scores"]:
            values.setdefault(name, [])
    for row in rows:
        for name, found in values.items():
            found.append(row["scores"].get(name))
    totals = {n: summarize(v, resamples=RESAMPLES, seed=seed) for n, v in values.items()}
    if "bleu" in totals:
        known = [row for row in rows if row["references"]]
        value = corpus_bleu((row["answer"], row["references"]) for row in known)
        totals["bleu_corpus"] = Summary(
            mean=value, count=len(known), missing=len(rows) - len(known)
        )
    return totals


def table_rows(totals: Mapping[str, Summary]) -> list[dict[str, Any]]:
    """The totals as rows for people."""
    return [
        {
            "metric": name,
            "mean": shown(total.mean),
            "95 % interval": "-"
            if total.low is None
            else f"{shown(total.low)} to {shown(total.high)}",
            "scored": total.count,
            "no score": total.missing,
        }
        for name, total in totals.items()
    ]


def plain(totals: Mapping[str, Summary]) -> dict[str, Any]:
    """The totals as plain data: ``mean, low, high, n_scored, n_missing`` by metric."""
    return {
        name: {
            "mean": total.mean,
            "low": total.low,
            "high": total.high,
            "n_scored": total.count,
            "n_missing": total.missing,
        }
        for name, total in totals.items()
    }


def shown(value: float | None) -> str:
    """A number for people: four digits after the point, more for small ones."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.2e}"


def names_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of all scores in some results."""
    return list(dict.fromkeys(name for row in rows for name in row["scores"]))
