"""The dataflow graph: changed files → text → passages → collection; vanished files → deletions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from sage.api import LocalEnvironment
from sage.api.datastream import DataStream
from sage.api.functions import MapFunction
from sage.apps.ingest.changes import HASH, Changes
from sage.apps.ingest.passages import Passages
from sage.lib.io.sink import CollectionSink
from sage.lib.io.source import FileChange
from sage.lib.transform import DocumentParser
from sage.lib.types import Document

WRITE, PARSE = "write", "parse"


class Named(MapFunction[Document, Document]):
    """Gives a document its file's hash under the name that ``changes`` looks for."""

    def execute(self, item: Document) -> Document:
        """Rename the hash of one document."""
        metadata = dict(item.metadata)
        metadata[HASH] = metadata.pop("hash")
        return attrs.evolve(item, metadata=metadata)


def build_pipeline(
    changes: Changes,
    *,
    folder: Path,
    sink: dict[str, Any],
    parser: dict[str, Any],
    passages: dict[str, Any],
    on_file: Callable[[list[Document]], list[Document]],
) -> LocalEnvironment:
    """The environment with the whole pipeline declared; ``submit()`` runs it.

    Args:
        changes: What is to be done.
        folder: The directory; files outside of it are not read.
        sink, parser, passages: Configuration of the steps.
        on_file: Called with the passages of each file, gives them back.
    """
    env = LocalEnvironment("ingest")
    # The sink takes both: passages of a file, and the word that a file is gone.
    removed: DataStream[Any] = env.from_collection(list(changes.remove), type=FileChange)
    written = (
        env.from_collection(list(changes.write), type=FileChange)
        .flatmap(
            DocumentParser,
            {"root": str(folder), **parser},
            name=PARSE,
            on_error="dead_letter",
        )
        .map(Named)
        .map(Passages, passages)
        .map(on_file)
    )
    written.union(removed).sink(CollectionSink, sink, name=WRITE, concurrency=64)
    return env
