"""Options that every command shares, and what they open."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

DirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        "-d",
        help="Directory of the collections; default: $SAGE_MEMORY_DIR, else SAGE's data directory.",
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="A memory server instead; its token is read from SAGE_MEMORY_TOKEN.",
        envvar="SAGE_MEMORY_URL",
    ),
]
NameArgument = Annotated[str, typer.Argument(help="Name of the collection.")]
WhereOption = Annotated[
    str | None, typer.Option("--where", "-w", help='Filter as JSON: \'{"year": {"$gt": 2020}}\'.')
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@contextlib.contextmanager
def memory(data_dir: Path | None, url: str | None) -> Iterator[Any]:
    """The local manager, or the client of a server; both have the same methods."""
    if url is not None and data_dir is not None:
        raise typer.BadParameter("give --data-dir or --url, not both")
    if url is not None:
        from sage.middleware.services.memory.rest.client import MemoryClient  # noqa: PLC0415

        with MemoryClient(url) as client:
            yield client
        return
    # NumPy and SQLite cost what `--help` does not need.
    from sage.middleware.services.memory.memory_manager import MemoryManager  # noqa: PLC0415

    with MemoryManager(data_dir) as manager:
        yield manager


def json_option(text: str | None, option: str) -> Any:
    """The value of an option that is JSON.

    Raises:
        typer.BadParameter: It is not.
    """
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as exc:
        raise typer.BadParameter(f"not JSON: {exc}", param_hint=option) from exc


def confirm(question: str, yes: bool) -> None:
    """Ask before something is deleted; without a terminal only ``--yes`` will do."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} Say --yes: there is no terminal to ask at.")
    if not typer.confirm(question, err=True):
        raise typer.Abort
