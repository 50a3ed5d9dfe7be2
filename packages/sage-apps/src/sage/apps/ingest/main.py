"""The command ``sage app run ingest``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sage.apps.ingest.changes import PATTERNS, SOURCE, Changes, find_changes, known_files
from sage.apps.ingest.passages import CUT
from sage.apps.ingest.pipeline import build_pipeline
from sage.apps.letters import failure_of
from sage.common.cli.output import ExitCode, emit, say
from sage.common.errors import ConfigError
from sage.lib.io.sink.terminal import clean
from sage.lib.types import Document
from sage.middleware.services.memory.cli.progress import progress

SHOWN = 10


def command(
    folder: Annotated[Path, typer.Argument(help="Directory of the files.", show_default=False)],
    collection: Annotated[
        str, typer.Option(help="Collection to fill; made if it is not there.")
    ] = "knowledge_base",
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where collections are; default: SAGE's data directory."),
    ] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(
            help="Glob below the directory; can be given several times. Default: txt, "
            "md, rst, html, pdf and docx files."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Glob of what is left out; several times.")
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="Embedding model, such as default, hash or minilm; default: that of the "
            "collection, else default."
        ),
    ] = None,
    chunk_size: Annotated[int, typer.Option(min=50, help="Characters of a passage.")] = 800,
    overlap: Annotated[
        int, typer.Option(min=0, help="Characters that passages of one section share.")
    ] = 0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to read one file.")] = 30.0,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="The collection was that of another directory: exchange its files."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Make a directory of files a collection to search, and keep it up to date.

    Only files whose content changed are read and embedded again; the passages of files that are
    gone are deleted. A file that cannot be read is listed, keeps the passages it had, and is tried
    again by the next run. Exit codes: 0 done, 3 a file could not be read.
    """
    if overlap >= chunk_size:
        raise typer.BadParameter(
            f"must be smaller than --chunk-size {chunk_size}", param_hint="--overlap"
        )
    if not folder.is_dir():
        raise ConfigError(f"{str(folder)!r} is no directory")
    passages: dict[str, Any] = {"chunk_size": chunk_size, "overlap": overlap}
    changes = find_changes(
        folder,
        known_files(data_dir, collection),
        patterns=pattern or PATTERNS,
        exclude=exclude or (),
        settings=json.dumps({**passages, "cut": CUT}),
        replace=replace,
    )
    if dry_run:
        _report(changes, collection, [], {}, as_json=as_json, dry_run=True)
        return ExitCode.OK
    counts: dict[str, Any] = {"passages": 0}
    letters: list[dict[str, Any]] = []
    if changes.write or changes.remove:
        with progress("files", len(changes.write)) as advance:

            def on_file(found: list[Document]) -> list[Document]:
                counts["passages"] += len(found)
                advance(1)
                return found

            env = build_pipeline(
                changes,
                folder=folder.resolve(),
                sink={
                    "collection_name": collection,
                    "data_dir": None if data_dir is None else str(data_dir),
                    "embedding": {} if embedder is None else {"method": embedder},
                    "replace_by": SOURCE,
                    "description": f"ingest: {folder}",
                },
                parser={"timeout": timeout},
                passages=passages,
                on_file=on_file,
            )
            job = env.submit()
            job.wait()
            letters = job.dead_letters()
    failures = [failure_of(letter) for letter in letters]
    _report(changes, collection, failures, counts, as_json=as_json)
    return ExitCode.JOB_FAILED if failures else ExitCode.OK


def _report(
    changes: Changes,
    collection: str,
    failures: list[str],
    counts: dict[str, Any],
    *,
    as_json: bool,
    dry_run: bool = False,
) -> None:
    facts = {
        "collection": collection,
        "added": changes.count("added"),
        "changed": changes.count("changed"),
        "removed": changes.count("removed"),
        "unchanged": changes.unchanged,
        "failed": len(failures),
        **counts,
    }
    if as_json:
        files = [
            {"file": each.id, "change": each.change} for each in (*changes.write, *changes.remove)
        ]
        typer.echo(json.dumps({**facts, "dry_run": dry_run, "files": files, "failures": failures}))
        return
    if dry_run:
        for each in (*changes.write, *changes.remove):
            typer.echo(clean(f"{each.change:8} {each.id}"))
    emit({key: value for key, value in facts.items() if not (dry_run and key == "failed")})
    for line in failures[:SHOWN]:
        say(f"failed: {line}")
    if len(failures) > SHOWN:
        say(f"... and {len(failures) - SHOWN} more")
