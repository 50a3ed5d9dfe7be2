"""Two runs on the same questions: what changed, and whether it is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from sage.apps.evaluation import results
from sage.apps.evaluation.summary import names_of, shown
from sage.common.errors import ConfigError
from sage.lib.evaluate.resampling import SEED, Comparison, compare_paired

CERTAIN = 0.05
"""Corrected p-value below which a difference is called significant."""


@attrs.frozen(kw_only=True)
class MetricComparison:
    """One metric of both runs.

    Attributes:
        metric: Name.
        values: Both scores of each question that has both, in the order of run A.
        test: The paired comparison of these.
        corrected: p-value after Holm's correction for the number of metrics.
    """

    metric: str
    values: tuple[tuple[str, float, float], ...]
    test: Comparison
    corrected: float

    @property
    def is_certain(self) -> bool:
        """Whether the difference is called significant."""
        return self.corrected < CERTAIN


@attrs.frozen(kw_only=True)
class RunComparison:
    """Run B against run A.

    Attributes:
        name_a, name_b: Of the runs, for people.
        metrics: Those that both runs scored.
        shared: Questions that are in both.
        only_a, only_b: Questions that are in one.
        rows_a, rows_b: Results by question.
        warnings: What makes the comparison doubtful.
        skipped: Metrics that cannot be compared.
    """

    name_a: str
    name_b: str
    metrics: tuple[MetricComparison, ...]
    shared: int
    only_a: int
    only_b: int
    rows_a: Mapping[str, Mapping[str, Any]]
    rows_b: Mapping[str, Mapping[str, Any]]
    warnings: tuple[str, ...]
    skipped: tuple[str, ...]


def compare_runs(a: Path, b: Path, *, seed: int = SEED) -> RunComparison:
    """Compare the runs in two folders.

    Raises:
        NotFoundError: A folder holds no run.
        ConfigError: The runs share no question.
    """
    run_a, run_b = results.read_run(a), results.read_run(b)
    rows_a = {row["id"]: row for row in results.read_rows(a)}
    rows_b = {row["id"]: row for row in results.read_rows(b)}
    shared = [each for each in rows_a if each in rows_b]
    if not shared:
        raise ConfigError(f"{a} and {b} have results of no common question; nothing to compare")
    names_a, names_b = names_of(list(rows_a.values())), names_of(list(rows_b.values()))
    found: list[tuple[str, tuple[tuple[str, float, float], ...], Comparison]] = []
    skipped = [name for name in [*names_a, *names_b] if (name in names_a) != (name in names_b)]
    for name in (each for each in names_a if each in names_b):
        values = _pairs(name, shared, rows_a, rows_b)
        test = compare_paired([x for _, x, _ in values], [y for _, _, y in values], seed=seed)
        if test is None:
            skipped.append(name)
        else:
            found.append((name, values, test))
    corrected = holm([test.p_value for _, _, test in found])
    return RunComparison(
        name_a=_name(a, b, run_a),
        name_b=_name(b, a, run_b),
        metrics=tuple(
            MetricComparison(metric=name, values=values, test=test, corrected=p)
            for (name, values, test), p in zip(found, corrected, strict=True)
        ),
        shared=len(shared),
        only_a=len(rows_a) - len(shared),
        only_b=len(rows_b) - len(shared),
        rows_a=rows_a,
        rows_b=rows_b,
        warnings=tuple(_warnings(run_a, run_b)),
        skipped=tuple(skipped),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    reached = 0.0
    for place, index in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = reached
    return corrected


def table_rows(found: RunComparison) -> list[dict[str, Any]]:
    """The comparison as rows for people."""
    return [
        {
            "metric": each.metric,
            "n": each.test.count,
            "A": shown(each.test.mean_a),
            "B": shown(each.test.mean_b),
            "B - A": _signed(each.test.difference),
            "95 % interval": f"{_signed(each.test.low)} to {_signed(each.test.high)}",
            "p (Holm)": f"{each.corrected:.4f}",
            "effect": "-" if each.test.effect is None else f"{each.test.effect:+.2f}",
            "better/worse/same": f"{each.test.wins}/{each.test.losses}/{each.test.ties}",
        }
        for each in found.metrics
    ]


def plain(found: RunComparison) -> dict[str, Any]:
    """The comparison as plain data."""
    return {
        "a": found.name_a,
        "b": found.name_b,
        "shared": found.shared,
        "only_a": found.only_a,
        "only_b": found.only_b,
        "metrics": {
            each.metric: {**attrs.asdict(each.test), "p_holm": each.corrected}
            for each in found.metrics
        },
        "skipped": list(found.skipped),
        "warnings": list(found.warnings),
    }


def _pairs(
    name: str,
    shared: Sequence[str],
    rows_a: Mapping[str, Mapping[str, Any]],
    rows_b: Mapping[str, Mapping[str, Any]],
) -> tuple[tuple[str, float, float], ...]:
    pairs = ((i, rows_a[i]["scores"].get(name), rows_b[i]["scores"].get(name)) for i in shared)
    return tuple((i, x, y) for i, x, y in pairs if x is not None and y is not None)


def _warnings(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    warnings = []
    if a.get("dataset_fingerprint") != b.get("dataset_fingerprint"):
        warnings.append(
            f"the data sets differ ({a.get('dataset')} and {b.get('dataset')}): questions are "
            "matched by id only"
        )
    configs = [
        {each["operator"]: each["config"] for each in run.get("metrics", ())} for run in (a, b)
    ]
    warnings += [
        f"{name} has different settings in both runs"
        for name in configs[0]
        if name in configs[1] and configs[0][name] != configs[1][name]
    ]
    return warnings


def _name(folder: Path, other: Path, run: Mapping[str, Any]) -> str:
    name = folder.resolve().name
    if name == other.resolve().name:
        name = f"{folder.resolve().parent.name}/{name}"
    return f"{name} ({run.get('pipeline')})"


def _signed(value: float) -> str:
    text = shown(value)
    return text if text.startswith("-") or value == 0 else f"+{text}"
