"""Runs the graph of a pipeline over a data set, with the evaluators as its last steps."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import attrs

from sage.apps.evaluation import metrics, results, summary
from sage.apps.evaluation.dataset import Dataset
from sage.apps.evaluation.metrics import Chosen, Models
from sage.apps.evaluation.pipelines import (
    Built,
    Target,
    build,
    dead_letters_for_failures,
    gives_answers,
)
from sage.apps.evaluation.results import ResultFile
from sage.apps.evaluation.thresholds import Threshold, check_names
from sage.apps.letters import failure_of
from sage.common.paths import cache_dir, ensure_dir
from sage.lib.evaluate.aggregate import Summary
from sage.lib.types import Query

REFRESH = 0.2


@attrs.frozen(kw_only=True)
class Plan:
    """One run.

    Attributes:
        target: The pipeline.
        dataset: The questions.
        metrics: Names of metrics; empty: what the data set allows.
        models: Models of evaluators.
        out: Folder of the run.
        resume: Go on with the run in that folder.
        keep_going: A question that fails does not end the run.
        data_dir: Keeps indexes of built-in pipelines; default: in SAGE's cache.
        thresholds: Checked against the totals.
        progress: Draw a bar on standard error.
    """

    target: Target
    dataset: Dataset
    metrics: tuple[str, ...]
    models: Models
    out: Path
    resume: bool = False
    keep_going: bool = False
    data_dir: Path | None = None
    thresholds: tuple[Threshold, ...] = ()
    progress: bool = False


@attrs.frozen(kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        totals: By metric, over all results in the folder.
        results: Results in the folder.
        earlier: Of these, from before this run was resumed.
        failures: One line per question that failed in this run.
        seconds: Of this run, without the preparation.
    """

    totals: dict[str, Summary]
    results: int
    earlier: int
    failures: list[str]
    seconds: float


def run(plan: Plan) -> Outcome:
    """Run, score, write.

    Raises:
        GraphError: The pipeline is not valid.
        ConfigError: A metric or threshold does not fit, or the folder cannot be resumed.
        JobFailedError: A question failed and ``keep_going`` is off; the results so far are kept.
    """
    dataset = plan.dataset
    built = build(plan.target, dataset, plan.data_dir or ensure_dir(cache_dir() / "eval"))
    answers = gives_answers(built.stream)
    names = list(plan.metrics) or metrics.default_names(dataset, answers=answers)
    chosen = metrics.choose(names, plan.models, answers=answers)
    check_names(list(plan.thresholds), _names(chosen))
    done = results.start(plan.out, _identity(plan, chosen), resume=plan.resume)
    rest = [query for query in dataset.queries if query.id not in done]
    failures: list[str] = []
    started = time.perf_counter()
    if rest:
        failures = _run(plan, chosen, built, rest)
    seconds = time.perf_counter() - started
    wanted = {query.id for query in dataset.queries}
    rows = [row for row in results.read_rows(plan.out) if row["id"] in wanted]
    totals = summary.summaries(rows)
    results.write_summary(
        plan.out, {"results": len(rows), "failed": len(failures), "scores": summary.plain(totals)}
    )
    return Outcome(
        totals=totals,
        results=len(rows),
        earlier=len(done & wanted),
        failures=failures,
        seconds=seconds,
    )


def _run(plan: Plan, chosen: list[Chosen], built: Built, queries: list[Query]) -> list[str]:
    built.ask(queries)
    stream = built.stream
    for each in chosen:
        options = {} if each.concurrency is None else {"concurrency": each.concurrency}
        stream = stream.map(each.operator, dict(each.config), **options)
    env: Any = stream.environment
    if plan.keep_going:
        dead_letters_for_failures(env)
    with ResultFile(plan.out, queries) as file:
        stream.sink(file.add)
        job = env.submit()
        try:
            if plan.progress:
                _follow(job, file, len(queries))
            job.wait()
        except KeyboardInterrupt:
            job.cancel()
            raise
        written = file.written
    failures = [failure_of(letter, item=True) for letter in job.dead_letters()]
    lost = len(queries) - written
    if lost > len(failures):
        # A filter in the pipeline may drop questions on purpose; a score must not hide that.
        failures.append(f"{lost - len(failures)} questions have no result and no error")
    return failures


def _follow(job: Any, file: ResultFile, total: int) -> None:
    from sage.kernel.observe.table import ended  # noqa: PLC0415 - only on a terminal

    started = time.perf_counter()
    try:
        while not ended(job, REFRESH):
            done = file.written
            rate = done / max(time.perf_counter() - started, 1e-9)
            filled = int(30 * done / total)
            left = f", {(total - done) / rate:.0f} s left" if done else ""
            bar = "█" * filled + "·" * (30 - filled)
            sys.stderr.write(f"\r\x1b[K{bar} {done}/{total}, {rate:.1f}/s{left}")
            sys.stderr.flush()
    finally:
        sys.stderr.write("\r\x1b[K")


def _names(chosen: list[Chosen]) -> list[str]:
    names = [name for each in chosen for name in each.names]
    return [*names, "bleu_corpus"] if "bleu" in names else names


def _identity(plan: Plan, chosen: list[Chosen]) -> dict[str, Any]:
    return {
        "pipeline": plan.target.name,
        "pipeline_fingerprint": plan.target.fingerprint(),
        "dataset": plan.dataset.name,
        "dataset_fingerprint": plan.dataset.fingerprint,
        "scope": plan.dataset.scope,
        "metrics": [{"operator": each.operator, "config": dict(each.config)} for each in chosen],
    }
