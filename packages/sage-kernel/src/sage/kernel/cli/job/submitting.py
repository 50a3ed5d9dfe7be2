"""``sage job submit``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sage.common.cli.output import OutputFormat, OutputOption
from sage.kernel.cli.connection import AddressOption, connect
from sage.kernel.cli.job.following import QuietOption, TimeoutOption, WaitOption, submitted
from sage.kernel.cli.pipeline import (
    Allow,
    Arguments,
    Config,
    Settings,
    Target,
    check_arguments,
    is_program,
    read_spec_with,
    refuse_overrides,
)

NameOption = Annotated[str | None, typer.Option(help="Shown name; default: the pipeline's.")]
PriorityOption = Annotated[int, typer.Option(help="Higher starts first among jobs that wait.")]


def submit(
    ctx: typer.Context,
    target: Target,
    arguments: Arguments = None,
    name: NameOption = None,
    priority: PriorityOption = 0,
    settings: Settings = None,
    config: Config = None,
    allow: Allow = None,
    include: Annotated[
        list[Path] | None,
        typer.Option(help="Send this file or folder with app.py, too; may be repeated."),
    ] = None,
    working_dir: Annotated[
        Path | None, typer.Option(help="Folder that relative paths are meant from.")
    ] = None,
    environment: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            "-e",
            metavar="NAME[=VALUE]",
            help="Environment variable of the job; without a value: yours. May be repeated.",
        ),
    ] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    quiet: QuietOption = False,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Submit a pipeline file or a Python program to the JobManager.

    Options come before the file. A program needs no change for it: its submit() runs in the job.
    """
    check_arguments(ctx, target, arguments)
    common: dict[str, Any] = {
        "name": name,
        "priority": priority,
        "working_dir": working_dir,
        "environment": variables(environment or ()),
    }
    client = connect(address)
    if is_program(target):
        refuse_overrides(target, config, settings or ())
        job = client.submit_program(target, arguments or (), include=include or (), **common)
    else:
        if include:
            raise typer.BadParameter("--include is for programs (.py)")
        spec = read_spec_with(target, config=config, settings=settings or ())
        job = client.submit_spec(spec, allow=allow or (), **common)
    submitted(client, job, output, quiet=quiet, wait=wait, timeout=timeout)


def variables(texts: Sequence[str]) -> Mapping[str, str]:
    """``NAME=VALUE`` and ``NAME`` (the value of this process) as a mapping.

    Raises:
        typer.BadParameter: A name is empty, or has no value here.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals and name in os.environ:
            value = os.environ[name]
        elif not name or not equals:
            raise typer.BadParameter(
                f"{text!r}: expected NAME=VALUE, or the NAME of a variable that is set"
            )
        found[name] = value
    return found
