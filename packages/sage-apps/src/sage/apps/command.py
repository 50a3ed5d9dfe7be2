"""List and run the ready applications, and start projects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sage.apps.scaffold import TEMPLATES, make_project
from sage.common.cli.output import ExitCode, JsonOption, OutputFormat, OutputOption, emit, say
from sage.common.cli.shell import as_command
from sage.common.plugins import Registry, load_entry, summary

GROUP = "sage.apps"

app = typer.Typer(
    help="List and run the ready applications, and start projects.", no_args_is_help=True
)


def _names(incomplete: str) -> list[str]:
    return [name for name in Registry(GROUP).names() if name.startswith(incomplete)]


@app.command("list")
def list_apps(output: OutputOption = OutputFormat.TABLE, as_json: JsonOption = False) -> None:
    """List the installed applications."""
    rows = [
        {
            "name": entry.name,
            "summary": summary(entry) or "",
            "distribution": entry.distribution,
        }
        for entry in Registry(GROUP).entries()
    ]
    emit(
        rows,
        OutputFormat.JSON if as_json else output,
        columns=("name", "summary", "distribution"),
    )


@app.command(
    "run",
    # Everything after the name belongs to the application, --help too.
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)
def run_app(
    name: Annotated[str, typer.Argument(help="Name of the application.", autocompletion=_names)],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="Arguments of the application; --help shows them.", metavar="[ARGS]..."
        ),
    ] = None,
) -> int:
    """Run an application."""
    entry = Registry(GROUP).entry(name)
    command = as_command(load_entry(entry), name)
    result = command.main(
        list(arguments or ()), prog_name=f"sage app run {name}", standalone_mode=False
    )
    return result if isinstance(result, int) else 0


@app.command("new")
def new_app(
    name: Annotated[
        Path, typer.Argument(help="Name of the project: a folder is made.", show_default=False)
    ],
    template: Annotated[
        str,
        typer.Option(
            help="; ".join(f"{each}: {text}" for each, text in TEMPLATES.items()) + ".",
            autocompletion=lambda incomplete: [t for t in TEMPLATES if t.startswith(incomplete)],
        ),
    ] = "rag",
) -> int:
    """Start a project that runs and has a test."""
    written = make_project(name, template)
    for path in written:
        typer.echo(name / path)
    say(f"start with {name / 'README.md'}")
    return ExitCode.OK
