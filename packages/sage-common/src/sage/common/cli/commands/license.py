"""The license (MIT, no key needed), and keys for plugins."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from sage.common import license as licensing
from sage.common.cli.output import ExitCode, OutputFormat, OutputOption, emit, error, say

app = typer.Typer(
    help="The license (MIT, no key needed), and keys for plugins.",
    no_args_is_help=True,
)


@app.command()
def check(output: OutputOption = OutputFormat.TABLE) -> int:
    """Check the license: the MIT license needs no key, so it is valid without one."""
    emit(_facts(), output)
    say("SAGE is under the MIT license: no key is needed, and no license server exists or is asked")
    problem = licensing.exposed()
    if problem:
        error(problem)
        return ExitCode.PROBLEMS
    return ExitCode.OK


@app.command()
def activate(
    key: Annotated[
        str | None,
        typer.Option(
            "--key", help="The key; `-` reads it from stdin. Without: asked for.", metavar="KEY"
        ),
    ] = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Keep the key of a vendor of plugins, on this machine only and for its owner only (0600)."""
    if key == "-":
        text = sys.stdin.readline()
    elif key is not None:
        text = key
    elif sys.stdin.isatty():
        text = typer.prompt("License key", hide_input=True, err=True)
    else:
        raise typer.BadParameter("give the key, or `-` to read it from stdin", param_hint="--key")
    path = licensing.store_key(text)
    emit(_facts(), output)
    say(
        f"kept in {path}; it was not verified, there is no license server: it is for plugins that "
        "ask for it. SAGE itself needs none"
    )


@app.command()
def show(output: OutputOption = OutputFormat.TABLE) -> None:
    """Show the license and the key, masked."""
    emit(_facts(), output)


@app.command()
def deactivate() -> None:
    """Remove the stored key."""
    say("removed the key" if licensing.remove_key() else "there was no key")


def _facts() -> dict[str, Any]:
    key = licensing.enterprise_key()
    given = os.environ.get(licensing.VARIABLE)
    origin = f"environment variable {licensing.VARIABLE}" if given else str(licensing.key_file())
    return {
        "license": licensing.NAME,
        "valid": True,
        "key_required": False,
        "key": None if key is None else licensing.masked(key),
        "key_origin": None if key is None else origin,
    }
