"""Check a pipeline file or a Python program without running it."""

from __future__ import annotations

import typer

from sage.common.cli.output import ExitCode, JsonOption, OutputFormat, OutputOption, emit, error
from sage.common.errors import GraphError
from sage.kernel.cli.pipeline import (
    Allow,
    Arguments,
    Config,
    Settings,
    Target,
    check_arguments,
    check_program,
    is_program,
    read_pipeline,
    refuse_overrides,
)

app = typer.Typer(add_completion=False)


@app.command("check", context_settings={"allow_interspersed_args": False})
def command(
    ctx: typer.Context,
    target: Target,
    arguments: Arguments = None,
    settings: Settings = None,
    config: Config = None,
    allow: Allow = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> int:
    """Check a pipeline file or a Python program without running it.

    A program is run up to the point where it waits for a job: its pipelines are built and checked,
    and nothing flows. Exit codes: 0 all is well, 8 problems were found.
    """
    check_arguments(ctx, target, arguments)
    if is_program(target):
        refuse_overrides(target, config, settings or ())
        reports, status = check_program(target, arguments or ())
        if status and not any(report["problems"] for report in reports):
            error(f"{target} ended with exit code {status} while its pipelines were built")
            return ExitCode.FAILURE
        if not reports:
            error(f"{target} submitted no pipeline")
            return ExitCode.FAILURE
    else:
        problems: list[str] = []
        name, steps = str(target), 0
        try:
            env = read_pipeline(target, config=config, settings=settings or (), allow=allow or ())
            name, steps = env.name, len(env.stream_graph.nodes)
            env.check()
        except GraphError as exc:
            problems = list(exc.data.get("problems", (str(exc),)))
        reports = [{"name": name, "steps": steps, "problems": problems}]
    shown = [{key: report[key] for key in ("name", "steps", "problems")} for report in reports]
    lines = []
    for report in shown:
        count = len(report["problems"])
        verdict = "ok" if not count else f"{count} problem{'s' * (count != 1)}"
        lines.append(f"{report['name']}: {report['steps']} steps, {verdict}")
        lines.extend(f"  - {problem}" for problem in report["problems"])
    emit(shown, OutputFormat.JSON if as_json else output, text="\n".join(lines))
    return ExitCode.PROBLEMS if any(report["problems"] for report in shown) else ExitCode.OK
