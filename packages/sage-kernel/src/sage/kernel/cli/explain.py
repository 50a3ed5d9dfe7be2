"""Show the logical and the physical plan of a pipeline, and why it is so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sage.common.cli.output import ExitCode, error
from sage.kernel.cli.pipeline import check_program, is_program, read_pipeline, refuse_overrides

app = typer.Typer(add_completion=False)


@app.command("explain", context_settings={"allow_interspersed_args": False})
def command(
    target: Annotated[Path, typer.Argument(help="PIPELINE.yaml or app.py", show_default=False)],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Arguments of app.py", show_default=False)
    ] = None,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="The logical graph as a Mermaid flowchart.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="STEP.KEY=VALUE or config.KEY=VALUE; may be repeated."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="File with configuration of the steps.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="Module whose operators the file may name; e.g. 'mypkg.*'."),
    ] = None,
) -> int:
    """Show the logical and the physical plan of a pipeline, and why it is so."""
    if is_program(target):
        refuse_overrides(target, config, settings or ())
        reports, status = check_program(
            target, arguments or (), view="mermaid" if mermaid else "plan"
        )
        for report in reports:
            for problem in report["problems"]:
                error(problem)
            shown = report["view"]
            if shown:
                sys.stdout.write(f"{shown.rstrip()}\n")
        if any(report["problems"] for report in reports):
            return ExitCode.PROBLEMS
        if status or not reports:
            error(f"{target} submitted no pipeline" if not status else f"{target} failed")
            return ExitCode.FAILURE
        return ExitCode.OK
    env = read_pipeline(target, config=config, settings=settings or (), allow=allow or ())
    sys.stdout.write((env.to_mermaid() if mermaid else env.explain()).rstrip() + "\n")
    return ExitCode.OK
