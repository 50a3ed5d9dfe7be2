"""``sage memory audit | diff``."""

from __future__ import annotations

from typing import Annotated

import typer

from sage.common.cli.exits import ExitCode
from sage.common.cli.output import JsonOption, OutputFormat, OutputOption, emit, say
from sage.middleware.services.memory.cli.opening import DirOption, NameArgument, UrlOption, memory
from sage.middleware.services.memory.cli.progress import progress


def audit(
    name: NameArgument,
    threshold: Annotated[
        float, typer.Option(help="Cosine from which two texts are near-duplicates.")
    ] = 0.95,
    tiers: Annotated[
        str, typer.Option(help="Collection in which the memory service notes what is recalled.")
    ] = "tiers",
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> int:
    """Look for duplicates, secrets, expired and never recalled rows, missing provenance.

    Ends with 8 when it finds secrets, duplicates or rows that do not say where they come from.
    """
    from sage.middleware.services.memory.cli.audit import (  # noqa: PLC0415 - NumPy
        PROBLEMS,
        audit_entries,
        audit_rows,
        summary,
        use_in,
    )

    with memory(data_dir, url) as manager:
        collection = manager.get_collection(name)
        if collection.backend_type == "KV":
            findings = audit_entries(collection.scan())
        elif collection.backend_type == "VDB":
            # Only rows that came through the service have a record of their use.
            tracked = "_hash" in collection.metadata_fields and manager.has_collection(tiers)
            use = use_in(manager.get_collection(tiers)) if tracked else None
            with progress(f"auditing {name}", len(collection)) as advance:
                findings = audit_rows(
                    collection.scan(with_vectors=collection.dim is not None),
                    threshold=threshold,
                    use=use,
                    advance=advance,
                )
        else:
            raise typer.BadParameter(f"{name!r} is a {collection.backend_type} collection")
    counts = summary(findings)
    emit(findings, OutputFormat.JSON if as_json else output)
    said = ", ".join(f"{count} × {kind}" for kind, count in sorted(counts.items()))
    say(said or f"nothing to say about {name!r}")
    return ExitCode.PROBLEMS if any(counts.get(kind) for kind in PROBLEMS) else ExitCode.OK


def diff(
    before: Annotated[str, typer.Argument(help="A collection, or a file that export wrote.")],
    after: Annotated[str, typer.Argument(help="Another.")],
    data_dir: DirOption = None,
    url: UrlOption = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> int:
    """Compare two collections, or a collection and an export. Ends with 8 when they differ."""
    from sage.middleware.services.memory.cli.comparison import (  # noqa: PLC0415
        differences,
        entries_of,
    )

    with memory(data_dir, url) as manager:
        found = differences(entries_of(manager, before), entries_of(manager, after))
    emit(found, OutputFormat.JSON if as_json else output)
    say(f"{len(found)} differences" if found else "no difference")
    return ExitCode.PROBLEMS if found else ExitCode.OK
