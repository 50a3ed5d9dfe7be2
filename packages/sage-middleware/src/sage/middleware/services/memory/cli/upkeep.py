"""``sage memory optimize | doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sage.common.cli.exits import ExitCode
from sage.common.cli.output import JsonOption, OutputFormat, OutputOption, emit, say
from sage.common.errors import SageError
from sage.middleware.services.memory.cli.opening import DirOption, UrlOption, memory
from sage.middleware.services.memory.cli.progress import progress

_OPEN_TO_OTHERS = 0o077
NamesArgument = Annotated[list[str] | None, typer.Argument(help="Collections; default: all.")]


def optimize(
    names: NamesArgument = None,
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Drop the bytes of deleted rows and write the caches that make the next start fast."""
    rows: list[dict[str, Any]] = []
    with memory(data_dir, url) as manager:
        chosen = names or [entry["name"] for entry in manager.list_collections()]
        with progress("optimizing", len(chosen)) as advance:
            for name in chosen:
                collection = manager.get_collection(name)
                work = getattr(collection, "optimize", None)
                done = work() if work is not None else collection.store()
                rows.append({"name": name, **(done or {"rows": len(collection)})})
                advance(1)
    emit(rows, OutputFormat.JSON if as_json else output)


def doctor(
    names: NamesArgument = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Embed again the rows whose vectors were lost.")
    ] = False,
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> int:
    """Check the files of collections. Ends with 8 when something is wrong."""
    rows: list[dict[str, Any]] = []
    with memory(data_dir, url) as manager:
        if url is None:
            rows += _directory(Path(manager.data_dir))
        chosen = names or [entry["name"] for entry in manager.list_collections()]
        with progress("checking", len(chosen)) as advance:
            for name in chosen:
                rows += _collection(manager, name, repair)
                advance(1)
    emit(rows, OutputFormat.JSON if as_json else output)
    bad = [row for row in rows if row["status"] == "bad"]
    say(f"{len(bad)} problems" if bad else "all is well")
    return ExitCode.PROBLEMS if bad else ExitCode.OK


def _collection(manager: Any, name: str, repair: bool) -> list[dict[str, Any]]:
    try:
        if repair:
            collection = manager.connect_collection(name, repair=True)
        else:
            collection = manager.get_collection(name)
        check = getattr(collection, "check", None)
        found = check() if check is not None else []
        if found and repair and hasattr(collection, "repair"):
            say(f"{name}: embedded {collection.repair()} rows again")
            found = collection.check()
        entries = len(collection)
    except SageError as exc:
        found, entries = [str(exc)], -1
    if found:
        return [{"name": name, "status": "bad", "detail": problem} for problem in found]
    return [{"name": name, "status": "ok", "detail": f"{entries} entries"}]


def _directory(root: Path) -> list[dict[str, Any]]:
    """What is beside the collections: readable by others, or left half made by a crash."""
    from sage.middleware.services.memory.storage.layout import has_collection  # noqa: PLC0415

    found = []
    if root.stat().st_mode & _OPEN_TO_OTHERS:
        detail = f"{root} can be read by other users: chmod 700"
        found.append({"name": "(directory)", "status": "note", "detail": detail})
    for path in sorted(root.iterdir()):
        if path.is_dir() and not has_collection(path) and not (path / "collection.json").is_file():
            detail = f"{path} holds no collection: left half made by a crash, or not SAGE's"
            found.append({"name": path.name, "status": "note", "detail": detail})
    return found
