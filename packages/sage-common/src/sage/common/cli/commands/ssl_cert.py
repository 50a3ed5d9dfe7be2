"""TLS certificates of the servers of SAGE: make, verify, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import attrs
import typer

from sage.common import tls
from sage.common.cli.output import ExitCode, OutputFormat, OutputOption, emit, error, say

app = typer.Typer(
    help="TLS certificates of the servers of SAGE: make, verify, show.", no_args_is_help=True
)

FolderOption = Annotated[
    Path | None,
    typer.Option("--dir", help="Folder of the files; default: `tls` in the user's configuration."),
]


@app.command()
def generate(
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", help="A name or address of the server; repeatable."),
    ] = None,
    days: Annotated[int, typer.Option(help="Days for which they are valid.")] = tls.DEFAULT_DAYS,
    folder: FolderOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Make an authority and a certificate of it for the server.

    It is for localhost, the loopback addresses, the name of this machine, and each --host.
    """
    made = tls.generate(folder, hosts=hosts or (), days=days, overwrite=force)
    emit({name: str(path) for name, path in attrs.asdict(made).items()}, output)
    say(
        f"clients get {made.ca.name} (cafile=...). The server:\n"
        f"  sage config set jobmanager.certfile {made.certificate.absolute()}\n"
        f"  sage config set jobmanager.keyfile {made.key.absolute()}\n"
        "  sage jobmanager restart"
    )


@app.command()
def verify(
    host: Annotated[
        str | None, typer.Option(help="Name or address that clients call the server by.")
    ] = None,
    folder: FolderOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> int:
    """Check a certificate: signature, time, key, permissions, host (exit code 8: problems)."""
    files = tls.files_in(folder)
    problems = tls.verify(files, host=host)
    if output is not OutputFormat.TABLE:
        emit([{"file": str(files.certificate), "problem": problem} for problem in problems], output)
    for problem in problems:
        error(problem)
    if problems:
        say("`sage ssl-cert generate --force` makes new ones")
        return ExitCode.PROBLEMS
    say(f"{files.certificate}: no problems found")
    return ExitCode.OK


@app.command()
def show(
    file: Annotated[
        Path | None, typer.Argument(help="A PEM file; default: the server's certificate.")
    ] = None,
    folder: FolderOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show what a certificate says."""
    info = attrs.asdict(tls.show(file or tls.files_in(folder).certificate))
    emit(info, output)
