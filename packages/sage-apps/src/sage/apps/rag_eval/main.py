"""The command ``sage app run rag-eval``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sage.apps.evaluation.comparison import CERTAIN
from sage.apps.evaluation.dataset import load_dataset
from sage.apps.evaluation.metrics import Models, split_names
from sage.apps.evaluation.options import (
    Answerable,
    BertModel,
    Concurrency,
    DataDir,
    Judge,
    KeepGoing,
    Limit,
    Metrics,
    Scope,
    Seed,
)
from sage.apps.evaluation.run import Plan
from sage.apps.rag_eval.matrix import run_all, table_rows, to_plain
from sage.apps.rag_eval.overview import write_overview
from sage.apps.rag_eval.variants import DEFAULT, Variant, read_file, read_variant, targets
from sage.common.cli.output import ExitCode, JsonOption, OutputFormat, OutputOption, emit, say
from sage.common.errors import ConfigError
from sage.lib.evaluate.resampling import SEED


def command(
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Questions: a file, or a folder, as of `sage eval run`.", show_default=False
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="[NAME=]PIPELINE[,STEP.KEY=VALUE...], the pipeline as of `sage eval run`; several "
            "times, the first is the baseline. Default: retrieval-bm25, retrieval-dense, "
            "retrieval-hybrid."
        ),
    ] = None,
    variants: Annotated[
        Path | None,
        typer.Option(
            help="YAML file: variants (name: {pipeline, set, top_k ...}), dataset, metrics."
        ),
    ] = None,
    metrics: Metrics = None,
    limit: Limit = None,
    answerable: Answerable = False,
    scope: Scope = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the runs; default: eval/rag-eval-DATASET.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the runs in that folder.")
    ] = False,
    keep_going: KeepGoing = False,
    judge: Judge = None,
    bert_model: BertModel = None,
    concurrency: Concurrency = 16,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Module whose operators a pipeline file may name; e.g. 'mypkg.*'."),
    ] = None,
    data_dir: DataDir = None,
    seed: Seed = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> int:
    """Run variants of a pipeline on one data set, compare them, and write a report.

    The report is report.html in the folder of the runs. Exit codes: 0 done, 3 a question failed.
    """
    chosen: dict[str, Variant] = {}
    names = list(metrics or ())
    if variants is not None:
        given = read_file(variants)
        chosen = dict(given.variants)
        names = names or list(given.metrics)
        if dataset is None and given.dataset is not None:
            dataset = Path(given.dataset)
    for text in variant or (() if chosen else DEFAULT):
        name, found = read_variant(text)
        if name in chosen:
            raise ConfigError(f"--variant {text!r}: there is a variant {name!r} already")
        chosen[name] = found
    if dataset is None:
        raise typer.BadParameter(
            "is missing: a file of questions or a folder", param_hint="--dataset"
        )
    runs = targets(chosen, allow=allow or (), concurrency=concurrency)
    data = load_dataset(dataset, limit=limit, answerable=answerable, scope=scope)
    folder = out or Path("eval") / f"rag-eval-{data.name}"
    plan = Plan(
        target=next(iter(runs.values())),
        dataset=data,
        metrics=tuple(split_names(names)),
        models=Models(judge=judge, bert=bert_model, concurrency=concurrency),
        out=folder,
        keep_going=keep_going,
        data_dir=data_dir,
        progress=sys.stderr.isatty(),
    )
    matrix = run_all(plan, runs, resume=resume, seed=SEED if seed is None else seed)
    files = write_overview(folder / "report.html", matrix, f"Variants on {data.name}")
    shown = OutputFormat.JSON if as_json else output
    emit(table_rows(matrix) if shown is OutputFormat.TABLE else to_plain(matrix), shown)
    say(f"baseline: {matrix.baseline}; * differs from it (paired test, p < {CERTAIN} corrected)")
    say(f"report: {files[0]}")
    failed = any(each.failures for each in matrix.outcomes.values())
    return ExitCode.JOB_FAILED if failed else ExitCode.OK
