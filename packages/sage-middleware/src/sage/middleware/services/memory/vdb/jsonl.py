"""Vector collections as JSON lines: one row a line, in files that other tools read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from sage.common.paths import replacing
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.vdb.filters import Where

_BATCH = 1000
_ON_CONFLICT = ("error", "skip", "replace")


class JsonLines:
    """Export and import for collections with ``scan``, ``get``, ``insert_many`` and ``upsert``."""

    scan: Callable[..., Iterator[dict[str, Any]]]
    get: Callable[..., Any]
    insert_many: Callable[..., list[str]]
    upsert: Callable[..., list[str]]

    def export_jsonl(
        self,
        file: str | os.PathLike[str],
        *,
        where: Where | None = None,
        with_vectors: bool = True,
    ) -> int:
        """Write rows as JSON lines ``id, text, metadata, updated, vector``; returns how many.

        The file appears when it is complete, replacing one of that name.

        Args:
            file: Where to.
            where: Only rows that match this filter.
            with_vectors: Also the vectors, as they are stored (``cosine``: normalised).
        """
        target = Path(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        count = 0
        with replacing(target) as stream:
            for row in self.scan(where, with_vectors=with_vectors):
                stream.write(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
                count += 1
        return count

    def import_jsonl(
        self,
        file: str | os.PathLike[str],
        *,
        on_conflict: str = "error",
        use_vectors: bool = True,
        batch_size: int = _BATCH,
    ) -> int:
        """Insert rows from JSON lines; returns how many were written.

        Each batch is one transaction. A line without ``id`` gets one; a line without ``vector`` is
        embedded by the collection's model.

        Args:
            file: JSON lines with ``text`` and optionally ``id``, ``metadata``, ``vector``.
            on_conflict: When a row of that id is there: ``error``, ``skip`` the line or
                ``replace`` the row.
            use_vectors: Take vectors from the file; otherwise embed every text.
            batch_size: Rows per transaction.

        Raises:
            InvalidInputError: A line is not as described; the message has its number. Batches
                before it were written.
        """
        if on_conflict not in _ON_CONFLICT:
            raise InvalidInputError(
                f"on_conflict is {on_conflict!r}; expected one of {', '.join(_ON_CONFLICT)}"
            )
        written = 0
        for rows in _batches(_read_lines(Path(file)), batch_size):
            written += self._import_batch(rows, on_conflict, use_vectors)
        return written

    def _import_batch(self, rows: list[dict[str, Any]], on_conflict: str, use_vectors: bool) -> int:
        if on_conflict == "skip":
            there = {r["id"] for r in self.get([r["id"] for r in rows if "id" in r])}
            rows = [r for r in rows if r.get("id") not in there]
        written = 0
        # Rows with and without id or vector cannot share a call.
        groups: dict[tuple[bool, bool], list[dict[str, Any]]] = {}
        for row in rows:
            ready = use_vectors and row.get("vector") is not None
            groups.setdefault(("id" in row, ready), []).append(row)
        for (named, ready), group in groups.items():
            texts = [r["text"] for r in group]
            metadatas = [r.get("metadata") for r in group]
            ids = [r["id"] for r in group] if named else None
            vectors = [r["vector"] for r in group] if ready else None
            write = self.upsert if on_conflict == "replace" else self.insert_many
            written += len(write(texts, metadatas, ids, vectors=vectors))
        return written


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield row_of(line, str(file), number)


def row_of(line: bytes | str, file: str, number: int) -> dict[str, Any]:
    """The row of a line.

    Raises:
        InvalidInputError: It is not as ``import_jsonl`` describes; says the file and the line.
    """
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise InvalidInputError(f"{file!r}, line {number}: not JSON: {exc}") from exc
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise InvalidInputError(f"{file!r}, line {number}: expected an object with a string 'text'")
    return row


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch
