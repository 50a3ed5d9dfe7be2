"""Evaluate pipelines on data sets, and compare runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

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
from sage.common.cli.output import (
    ExitCode,
    JsonOption,
    OutputFormat,
    OutputOption,
    emit,
    say,
    warn,
)

app = typer.Typer(help="Evaluate pipelines on data sets, and compare runs.", no_args_is_help=True)


@app.command("run")
def run_command(
    pipeline: Annotated[
        str,
        typer.Argument(
            help="A pipeline file (YAML, JSON), a program with build(env, source), or a built-in: "
            "retrieval-bm25, retrieval-dense, retrieval-hybrid, extractive, qa.",
            show_default=False,
        ),
    ],
    dataset: Annotated[
        Path,
        typer.Option(
            help="Questions: a jsonl or csv file (text, answers, documents), or a folder with "
            "queries.jsonl and optionally corpus.jsonl and qrels.tsv.",
            show_default=False,
        ),
    ],
    metrics: Metrics = None,
    limit: Limit = None,
    answerable: Answerable = False,
    scope: Scope = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; default: eval/PIPELINE-DATASET.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in that folder.")
    ] = False,
    threshold: Annotated[
        list[str] | None,
        typer.Option(help="Bound such as f1>=0.3; exit code 8 if it fails. May be repeated."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    keep_going: KeepGoing = False,
    judge: Judge = None,
    bert_model: BertModel = None,
    concurrency: Concurrency = 16,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Passages per question of built-in pipelines.")
    ] = None,
    embedder: Annotated[
        str, typer.Option(help="Embedding model of built-in pipelines.")
    ] = "default",
    model: Annotated[str | None, typer.Option(help="Language model of qa.")] = None,
    max_chars: Annotated[
        int | None, typer.Option(min=50, help="Cut documents for built-in pipelines.")
    ] = None,
    data_dir: DataDir = None,
    config: Annotated[
        Path | None, typer.Option(help="File with configuration of the steps.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="STEP.KEY=VALUE; may be repeated.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Module whose operators the file may name; e.g. 'mypkg.*'."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Id of the source to replace, where there are several.")
    ] = None,
    sink: Annotated[
        str | None, typer.Option(help="Id of the sink to replace, where there are several.")
    ] = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> int:
    """Run a pipeline over a data set and score it.

    The pipeline runs as it is, but for its source and its sink. Results are written question by
    question; a run that was interrupted goes on with --resume. Exit codes: 0 done, 3 a question
    failed, 8 a threshold does not hold.
    """
    # NumPy and the operator library: not for --help.
    from sage.apps.evaluation import summary  # noqa: PLC0415
    from sage.apps.evaluation.builtin import BuiltinOptions  # noqa: PLC0415
    from sage.apps.evaluation.dataset import load_dataset  # noqa: PLC0415
    from sage.apps.evaluation.junit import write_junit  # noqa: PLC0415
    from sage.apps.evaluation.metrics import Models, split_names  # noqa: PLC0415
    from sage.apps.evaluation.pipelines import Target  # noqa: PLC0415
    from sage.apps.evaluation.run import Plan, run  # noqa: PLC0415
    from sage.apps.evaluation.thresholds import parse_threshold  # noqa: PLC0415

    target = Target(
        pipeline=pipeline,
        config=config,
        settings=tuple(settings or ()),
        allow=tuple(allow or ()),
        source=source,
        sink=sink,
        options=BuiltinOptions(
            top_k=top_k,
            embedder=embedder,
            model=model,
            max_chars=max_chars,
            concurrency=concurrency,
        ),
    )
    target.check()
    bounds = tuple(parse_threshold(text) for text in threshold or ())
    data = load_dataset(dataset, limit=limit, answerable=answerable, scope=scope)
    folder = out or Path("eval") / f"{target.name}-{data.name}"
    plan = Plan(
        target=target,
        dataset=data,
        metrics=tuple(split_names(metrics or ())),
        models=Models(judge=judge, bert=bert_model, concurrency=concurrency),
        out=folder,
        resume=resume,
        keep_going=keep_going,
        data_dir=data_dir,
        thresholds=bounds,
        progress=sys.stderr.isatty(),
    )
    outcome = run(plan)
    checks = [(each, *each.check(outcome.totals)) for each in bounds]
    title = f"{target.name} on {data.name}"
    if junit is not None:
        write_junit(
            junit,
            name=f"sage eval: {title}",
            totals=outcome.totals,
            thresholds=bounds,
            failures=outcome.failures,
            seconds=outcome.seconds,
        )
    chosen = OutputFormat.JSON if as_json else output
    if chosen is OutputFormat.TABLE:
        emit(summary.table_rows(outcome.totals))
    else:
        emit(
            {
                "pipeline": target.name,
                "dataset": data.name,
                "out": str(folder),
                "results": outcome.results,
                "earlier": outcome.earlier,
                "failed": len(outcome.failures),
                "seconds": round(outcome.seconds, 3),
                "scores": summary.plain(outcome.totals),
                "thresholds": [
                    {"threshold": each.text, "value": value, "holds": held}
                    for each, held, value in checks
                ],
            },
            chosen,
        )
    again = f", {outcome.earlier} of them from before" if outcome.earlier else ""
    say(f"{title}: {outcome.results} results{again} in {folder}; {outcome.seconds:.1f} s")
    for line in outcome.failures[:5]:
        say(f"failed: {line}")
    if len(outcome.failures) > 5:
        say(f"... and {len(outcome.failures) - 5} more")
    for each, held, value in checks:
        if not held:
            say(f"threshold {each.text} does not hold: {each.metric} is {summary.shown(value)}")
    if not all(held for _, held, _ in checks):
        return ExitCode.PROBLEMS
    return ExitCode.JOB_FAILED if outcome.failures else ExitCode.OK


@app.command("metrics")
def metrics_command(output: OutputOption = OutputFormat.TABLE, as_json: JsonOption = False) -> None:
    """List the metrics that --metrics takes."""
    from sage.apps.evaluation.metrics import known_names  # noqa: PLC0415

    emit(known_names(), OutputFormat.JSON if as_json else output)


@app.command("compare")
def compare_command(
    a: Annotated[Path, typer.Argument(help="Folder of a run: the baseline.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Folder of another run.", show_default=False)],
    html: Annotated[
        Path | None, typer.Option(help="Write a report with plots to this HTML file.")
    ] = None,
    seed: Seed = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> int:
    """Compare two runs on their common questions, with a paired test.

    The p-value is that of a paired permutation test, corrected for the number of metrics.
    """
    from sage.apps.evaluation.comparison import (  # noqa: PLC0415 - NumPy
        compare_runs,
        plain,
        table_rows,
    )
    from sage.apps.evaluation.report import write_report  # noqa: PLC0415
    from sage.lib.evaluate.resampling import SEED  # noqa: PLC0415

    found = compare_runs(a, b, seed=SEED if seed is None else seed)
    for each in found.warnings:
        warn(each)
    chosen = OutputFormat.JSON if as_json else output
    emit(table_rows(found) if chosen is OutputFormat.TABLE else plain(found), chosen)
    say(
        f"A: {found.name_a}, B: {found.name_b}; {found.shared} common questions, "
        f"{found.only_a} only in A, {found.only_b} only in B"
    )
    if found.skipped:
        say(f"not in both: {', '.join(found.skipped)}")
    if html is not None:
        write_report(html, found)
        say(f"report: {html}")
    return ExitCode.OK
