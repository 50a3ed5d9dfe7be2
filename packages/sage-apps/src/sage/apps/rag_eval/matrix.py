"""The runs of all variants, and how each compares with the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from sage.apps.evaluation.comparison import MetricComparison, RunComparison, compare_runs, holm
from sage.apps.evaluation.pipelines import Target
from sage.apps.evaluation.run import Outcome, Plan, run
from sage.apps.evaluation.summary import plain, shown
from sage.common.cli.output import say
from sage.lib.evaluate.aggregate import Summary


@attrs.frozen(kw_only=True)
class Matrix:
    """All variants on one data set.

    Attributes:
        baseline: Name of the first.
        outcomes: By variant.
        comparisons: Of every other with the baseline; the p-values are corrected for the number
            of metrics and variants together.
    """

    baseline: str
    outcomes: Mapping[str, Outcome]
    comparisons: Mapping[str, RunComparison]

    def metrics(self) -> list[str]:
        """Names of all scores, in the order in which they first appear."""
        names = (name for each in self.outcomes.values() for name in each.totals)
        return list(dict.fromkeys(names))

    def total(self, variant: str, metric: str) -> Summary | None:
        """A mean with its interval, if the variant has that score."""
        return self.outcomes[variant].totals.get(metric)

    def test(self, variant: str, metric: str) -> MetricComparison | None:
        """The comparison with the baseline, if both have that score."""
        found = self.comparisons.get(variant)
        return next((m for m in found.metrics if m.metric == metric), None) if found else None


def run_all(plan: Plan, targets: Mapping[str, Target], *, resume: bool, seed: int) -> Matrix:
    """Run every variant into a folder of its own below ``plan.out``, and compare.

    Args:
        plan: What the runs share.
        targets: By variant; the first is the baseline.
        resume: Go on with the runs that are there.
        seed: Of the resampling.
    """
    outcomes = {}
    for name, target in targets.items():
        # A variant that was never started has nothing to go on with.
        again = resume and (plan.out / name).is_dir()
        out = plan.out / name
        outcomes[name] = run(attrs.evolve(plan, target=target, out=out, resume=again))
        found = outcomes[name]
        failed = f", {len(found.failures)} failed" if found.failures else ""
        say(f"{name}: {found.results} results in {out}{failed}; {found.seconds:.1f} s")
    baseline, *others = targets
    compared = {
        name: compare_runs(plan.out / baseline, plan.out / name, seed=seed) for name in others
    }
    return Matrix(baseline=baseline, outcomes=outcomes, comparisons=_corrected(compared))


def table_rows(matrix: Matrix) -> list[dict[str, Any]]:
    """A row per variant, a column per metric; ``*`` marks what differs from the baseline."""
    return [
        {
            "variant": name,
            **{metric: _cell(matrix, name, metric) for metric in _measured(matrix)},
        }
        for name in matrix.outcomes
    ]


def to_plain(matrix: Matrix) -> dict[str, Any]:
    """Everything as plain data."""
    return {
        "baseline": matrix.baseline,
        "variants": {
            name: {
                "results": each.results,
                "failed": len(each.failures),
                "seconds": round(each.seconds, 3),
                "scores": plain(each.totals),
            }
            for name, each in matrix.outcomes.items()
        },
        "against_baseline": {
            name: {
                each.metric: {**attrs.asdict(each.test), "p_holm": each.corrected}
                for each in found.metrics
            }
            for name, found in matrix.comparisons.items()
        },
    }


def _measured(matrix: Matrix) -> list[str]:
    """Metrics for which some variant has a score."""
    return [
        metric
        for metric in matrix.metrics()
        if any((t := matrix.total(v, metric)) and t.mean is not None for v in matrix.outcomes)
    ]


def _cell(matrix: Matrix, variant: str, metric: str) -> str:
    total, test = matrix.total(variant, metric), matrix.test(variant, metric)
    if total is None or total.mean is None:
        return "-"
    return shown(total.mean) + ("*" if test is not None and test.is_certain else "")


def _corrected(compared: Mapping[str, RunComparison]) -> dict[str, RunComparison]:
    tests = [(name, each) for name, found in compared.items() for each in found.metrics]
    values = iter(holm([each.test.p_value for _, each in tests]))
    return {
        name: attrs.evolve(
            found,
            metrics=tuple(attrs.evolve(each, corrected=next(values)) for each in found.metrics),
        )
        for name, found in compared.items()
    }
