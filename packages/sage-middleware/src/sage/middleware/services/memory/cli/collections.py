"""``sage memory list | show | create | rename | delete``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sage.common.cli.output import JsonOption, OutputFormat, OutputOption, emit, say
from sage.middleware.services.memory.cli.opening import (
    DirOption,
    NameArgument,
    UrlOption,
    YesOption,
    confirm,
    json_option,
    memory,
)


def list_collections(
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> None:
    """List the collections with their kind and size."""
    output = OutputFormat.JSON if as_json else output
    with memory(data_dir, url) as manager:
        rows = []
        for entry in manager.list_collections():
            facts = manager.get_collection(entry["name"]).info()
            rows.append({**entry, "entries": size_of(facts), "bytes": facts.get("bytes")})
        if not rows and output is OutputFormat.TABLE:
            say(f"there are no collections in {manager.data_dir}")
    emit(rows, output, columns=("name", "backend_type", "entries", "bytes", "description"))


def show_collection(
    name: NameArgument,
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Show a collection: size, embedding model, indexes, retention."""
    with memory(data_dir, url) as manager:
        facts = manager.get_collection(name).info()
    emit(facts, OutputFormat.JSON if as_json else output)


def create_collection(
    name: NameArgument,
    backend_type: Annotated[
        str, typer.Option("--type", "-t", help="VDB, KV, Graph or the name of a plugin.")
    ] = "VDB",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    embedding_model: Annotated[
        str | None,
        typer.Option("--model", help="Embedding model of a VDB; 'none' for words only."),
    ] = "default",
    dim: Annotated[int | None, typer.Option(help="Dimension, when vectors come ready.")] = None,
    metric: Annotated[str | None, typer.Option(help="cosine, dot or l2.")] = None,
    options: Annotated[str | None, typer.Option(help="More options as JSON.")] = None,
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Make a collection."""
    given: dict[str, Any] = json_option(options, "--options") or {}
    if metric is not None:
        given["metric"] = metric
    if backend_type.upper() == "VDB" and dim is None and embedding_model not in (None, "none"):
        given["embedding_model"] = embedding_model
    with memory(data_dir, url) as manager:
        made = manager.create_collection(name, backend_type, description, dim=dim, **given)
        emit(made.info(), output)


def rename_collection(
    name: NameArgument,
    new_name: Annotated[str, typer.Argument(help="Its new name.")],
    data_dir: DirOption = None,
    url: UrlOption = None,
) -> None:
    """Give a collection another name."""
    with memory(data_dir, url) as manager:
        manager.rename_collection(name, new_name)
    say(f"renamed {name!r} to {new_name!r}")


def delete_collection(
    name: NameArgument,
    yes: YesOption = False,
    data_dir: DirOption = None,
    url: UrlOption = None,
) -> None:
    """Delete a collection with everything it has on disk."""
    with memory(data_dir, url) as manager:
        entries = size_of(manager.get_collection(name).info())
        confirm(f"Delete the collection {name!r} with {entries} entries?", yes)
        manager.delete_collection(name)
    say(f"deleted {name!r} ({entries} entries)")


def size_of(facts: dict[str, Any]) -> int | None:
    """Rows, keys or nodes, whichever its kind has."""
    for key in ("rows", "count", "nodes"):
        if facts.get(key) is not None:
            return int(facts[key])
    return None
