"""``sage memory query | insert | import | export | forget``."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from sage.common.cli.output import JsonOption, OutputFormat, OutputOption, emit, say
from sage.common.paths import replacing
from sage.middleware.services.memory.cli.opening import (
    DirOption,
    NameArgument,
    UrlOption,
    WhereOption,
    YesOption,
    confirm,
    json_option,
    memory,
)
from sage.middleware.services.memory.cli.progress import progress

_BATCH = 1000
FileArgument = Annotated[Path, typer.Argument(help="A file; '-' for standard input or output.")]


def query(
    names: Annotated[str, typer.Argument(help="A collection, or several with commas between.")],
    text: Annotated[str, typer.Argument(help="What to search for.")],
    topk: Annotated[int, typer.Option("--topk", "-k", min=1, help="Most results.")] = 5,
    index: Annotated[str | None, typer.Option("--index", help="Search this index.")] = None,
    where: WhereOption = None,
    mode: Annotated[str | None, typer.Option(help="dense, bm25 or hybrid.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Least score.")] = None,
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Search collections; several at once are merged."""
    options: dict[str, Any] = {
        "where": json_option(where, "--where"),
        "mode": mode,
        "threshold": threshold,
    }
    options = {key: value for key, value in options.items() if value is not None}
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    with memory(data_dir, url) as manager:
        if len(chosen) == 1:
            if index is not None:
                options["index_name"] = index
            hits = manager.get_collection(chosen[0]).retrieve(text, topk=topk, **options)
        else:
            hits = manager.search(chosen, text, topk, **options)
    output = OutputFormat.JSON if as_json else output
    if not hits and output is OutputFormat.TABLE:
        say("nothing found")
    rounded = [{**hit, "score": round(float(hit["score"]), 4)} for hit in hits]
    columns = ["score", "id", "text", "metadata"]
    if len(chosen) > 1:
        columns.insert(1, "collection")
    emit(rounded if output is OutputFormat.TABLE else hits, output, columns=columns)


def insert(
    name: NameArgument,
    texts: Annotated[
        list[str], typer.Argument(help="Texts (VDB), one key (KV) or nodes (Graph); '-': lines.")
    ],
    metadata: Annotated[
        str | None,
        typer.Option("--metadata", "-m", help="Metadata, or properties of nodes, as JSON."),
    ] = None,
    row_id: Annotated[str | None, typer.Option("--id", help="Id of a single text.")] = None,
    value: Annotated[str | None, typer.Option("--value", help="KV: the value, as JSON.")] = None,
    ttl: Annotated[float | None, typer.Option(help="KV: seconds until it is gone.")] = None,
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Insert texts into a VDB collection, a key into a KV or nodes into a Graph collection."""
    given = json_option(metadata, "--metadata")
    if texts == ["-"]:
        texts = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    with memory(data_dir, url) as manager:
        collection = manager.get_collection(name)
        if collection.backend_type == "KV":
            if value is None or len(texts) != 1:
                raise typer.BadParameter("a KV collection takes one key and --value JSON")
            collection.put(texts[0], json_option(value, "--value"), ttl)
            ids = [texts[0]]
        elif value is not None or ttl is not None:
            raise typer.BadParameter("--value and --ttl are for KV collections")
        elif collection.backend_type == "Graph":
            if row_id is not None:
                raise typer.BadParameter("the nodes of a Graph collection are their own ids")
            collection.add_nodes([[node, given or {}] for node in texts], exist_ok=False)
            ids = texts
        else:
            if row_id is not None and len(texts) != 1:
                raise typer.BadParameter("--id takes one text")
            ids = collection.insert_many(
                texts,
                None if given is None else [given] * len(texts),
                None if row_id is None else [row_id],
            )
    emit([{"id": one} for one in ids], output)


def import_rows(
    name: NameArgument,
    file: FileArgument,
    on_conflict: Annotated[
        str, typer.Option(help="When the id is there: error, skip or replace.")
    ] = "error",
    create: Annotated[
        bool, typer.Option("--create", help="Make the VDB collection if it is not there.")
    ] = False,
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Import JSON lines (as export writes them), a CSV file or a text file.

    CSV: the column `text`, and `id` if there is one; the others become metadata. Text: one row per
    line.
    """
    _check_file(file)
    with memory(data_dir, url) as manager, tempfile.TemporaryDirectory() as folder:
        if create and not manager.has_collection(name):
            manager.create_collection(name, embedding_model="default")
        collection = manager.get_collection(name)
        if collection.backend_type != "VDB":
            with progress(f"importing into {name}") as advance:
                count = collection.import_jsonl(_jsonl(file, Path(folder)))
                advance(count)
        else:
            total = None if str(file) == "-" else _lines(file)
            count = 0
            with progress(f"importing into {name}", total) as advance:
                part = Path(folder) / "batch.jsonl"
                for batch in _batches(_checked(file)):
                    part.write_text("".join(batch), encoding="utf-8")
                    count += collection.import_jsonl(part, on_conflict=on_conflict)
                    advance(len(batch))
    emit({"imported": count, "collection": name}, output)


def export_rows(
    name: NameArgument,
    file: FileArgument,
    where: WhereOption = None,
    vectors: Annotated[bool, typer.Option(help="Also the vectors.")] = True,
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Export a collection as JSON lines."""
    chosen = json_option(where, "--where")
    with memory(data_dir, url) as manager, tempfile.TemporaryDirectory() as folder:
        collection = manager.get_collection(name)
        target = Path(folder) / "export.jsonl" if str(file) == "-" else file
        if collection.backend_type != "VDB":
            if chosen is not None:
                raise typer.BadParameter("--where is for VDB collections")
            with progress(f"exporting {name}") as advance:
                count = collection.export_jsonl(target)
                advance(count)
        else:
            with progress(f"exporting {name}", collection.count(chosen)) as advance:
                count = _export(collection, target, chosen, vectors, advance)
        if str(file) == "-":
            sys.stdout.write(target.read_text(encoding="utf-8"))
            say(f"exported {count} from {name!r}")
            return
    emit({"exported": count, "file": str(file)}, output)


def forget(
    name: NameArgument,
    where: WhereOption = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="This entry; repeatable.")] = None,
    yes: YesOption = False,
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Delete entries so that nothing of them is left on disk."""
    chosen = json_option(where, "--where")
    if (chosen is None) == (not ids):
        raise typer.BadParameter("give --where or --id, one of them")
    with memory(data_dir, url) as manager:
        collection = manager.get_collection(name)
        if chosen is not None and collection.backend_type != "VDB":
            raise typer.BadParameter("--where is for VDB collections; give --id")
        count = len(ids) if ids else collection.count(chosen)
        confirm(f"Forget {count} entries of {name!r} for good?", yes)
        if collection.backend_type != "VDB":
            forgotten = collection.forget(ids)
        elif url is not None:
            forgotten = collection.forget(chosen, ids=ids or None)
        else:
            # The service also knows what its tiers have noted about the entries.
            from sage.middleware.services.memory.service import MemoryService  # noqa: PLC0415

            service = MemoryService.over(manager)
            forgotten = service.forget(name, **({"ids": ids} if ids else {"where": chosen}))
    emit({"forgotten": forgotten, "collection": name}, output)


def _export(collection: Any, target: Path, where: Any, vectors: bool, advance: Any) -> int:
    import orjson  # noqa: PLC0415 - as NumPy below it: not for --help

    target.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with replacing(target) as stream:
        for row in collection.scan(where, with_vectors=vectors):
            stream.write(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
            count += 1
            advance(1)
    return count


def _check_file(file: Path) -> None:
    if str(file) != "-" and not file.is_file():
        found = "is a directory" if file.is_dir() else "is not there"
        raise typer.BadParameter(
            f"{str(file)!r} {found}; expected a JSON lines, CSV or text file, or '-' for standard "
            "input"
        )


def _checked(file: Path) -> Iterator[str]:
    """``_read``; a line that is no row is named by its number in the file, not in its batch."""
    from sage.middleware.services.memory.vdb.jsonl import row_of  # noqa: PLC0415 - NumPy

    for number, line in enumerate(_read(file), 1):
        if line.strip():
            row_of(line, str(file), number)
        yield line


def _lines(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(1 for _ in stream)


def _batches(lines: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(lines, _BATCH)):
        yield batch


def _read(file: Path) -> Iterator[str]:
    """The rows of a file as JSON lines."""
    if str(file) == "-":
        yield from (line if line.endswith("\n") else f"{line}\n" for line in sys.stdin)
        return
    with file.open(encoding="utf-8", newline="") as stream:
        if file.suffix.lower() == ".csv":
            reader = csv.DictReader(stream)
            if "text" not in (reader.fieldnames or ()):
                raise typer.BadParameter(
                    f"{str(file)!r} has no column 'text'; it has "
                    f"{', '.join(reader.fieldnames or ())}"
                )
            for record in reader:
                row = {"text": record.pop("text")}
                if record.get("id"):
                    row["id"] = record.pop("id")
                yield json.dumps({**row, "metadata": record}) + "\n"
        elif file.suffix.lower() in (".txt", ".md"):
            for line in stream:
                if line.strip():
                    yield json.dumps({"text": line.strip()}) + "\n"
        else:
            yield from (line if line.endswith("\n") else f"{line}\n" for line in stream)


def _jsonl(file: Path, folder: Path) -> Path:
    if str(file) != "-":
        return file
    target = folder / "import.jsonl"
    target.write_text(sys.stdin.read(), encoding="utf-8")
    return target
