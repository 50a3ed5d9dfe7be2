"""``sage memory index list | create | drop | rebuild | optimize``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sage.common.cli.output import JsonOption, OutputFormat, OutputOption, emit, say
from sage.middleware.services.memory.cli.opening import (
    DirOption,
    NameArgument,
    UrlOption,
    WhereOption,
    json_option,
    memory,
)

app = typer.Typer(help="List, make and remove the indexes of a collection.", no_args_is_help=True)
IndexArgument = Annotated[str, typer.Argument(help="Name of the index.")]
MaybeIndex = Annotated[str | None, typer.Argument(help="Name of the index; default: all.")]


@app.command("list")
def list_indexes(
    name: NameArgument,
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> None:
    """List the indexes of a collection."""
    with memory(data_dir, url) as manager:
        rows = manager.get_collection(name).list_indexes()
    emit(rows, OutputFormat.JSON if as_json else output)


@app.command("create")
def create_index(
    name: NameArgument,
    index: IndexArgument,
    where: WhereOption = None,
    kind: Annotated[str, typer.Option(help="vector or bm25 (VDB).")] = "vector",
    fields: Annotated[
        list[str] | None, typer.Option("--field", help="KV, Graph: what of a value is searched.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    data_dir: DirOption = None,
    url: UrlOption = None,
) -> None:
    """Make an index; a VDB collection may have many, each over a filter."""
    with memory(data_dir, url) as manager:
        collection = manager.get_collection(name)
        if collection.backend_type == "VDB":
            options: dict[str, Any] = {"kind": kind, "description": description}
            collection.create_index(index, where=json_option(where, "--where"), **options)
        else:
            collection.create_index(index, fields=fields or [""])
    say(f"made the index {index!r} of {name!r}")


@app.command("drop")
def drop_index(
    name: NameArgument, index: IndexArgument, data_dir: DirOption = None, url: UrlOption = None
) -> None:
    """Remove an index; the rows stay."""
    with memory(data_dir, url) as manager:
        manager.get_collection(name).drop_index(index)
    say(f"dropped the index {index!r} of {name!r}")


@app.command("rebuild")
def rebuild_index(
    name: NameArgument, index: MaybeIndex = None, data_dir: DirOption = None, url: UrlOption = None
) -> None:
    """Make what is cached for an index, or for all, anew from the rows."""
    _maintain(name, index, data_dir, url, "rebuild_index")


@app.command("optimize")
def optimize_index(
    name: NameArgument, index: MaybeIndex = None, data_dir: DirOption = None, url: UrlOption = None
) -> None:
    """Bring an index, or all, into its fastest form."""
    _maintain(name, index, data_dir, url, "optimize_index")


def _maintain(name: str, index: str | None, data_dir: Any, url: str | None, method: str) -> None:
    with memory(data_dir, url) as manager:
        collection = manager.get_collection(name)
        work = getattr(collection, method, None)
        if work is None:
            collection.store()  # KV and Graph keep one index, which follows every write
        else:
            work(index)
    say(f"done: {name!r}" + (f", index {index!r}" if index else ""))
