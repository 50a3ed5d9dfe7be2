"""Show the logical and the physical plan of a pipeline, and why it is so."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sage.common.cli.output import ExitCode, error
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


@app.command("explain", context_settings={"allow_interspersed_args": False})
def command(
    ctx: typer.Context,
    target: Target,
    arguments: Arguments = None,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="The logical graph as a Mermaid flowchart.")
    ] = False,
    settings: Settings = None,
    config: Config = None,
    allow: Allow = None,
) -> int:
    """Show the logical and the physical plan of a pipeline, and why it is so."""
    check_arguments(ctx, target, arguments)
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
