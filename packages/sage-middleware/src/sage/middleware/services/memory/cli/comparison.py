"""What differs between two collections, or a collection and an export."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from sage.common.errors import NotFoundError
from sage.middleware.services.memory.errors import InvalidInputError

Entries = dict[str, dict[str, bytes]]
"""Id → part (``text``, ``metadata``, ``value``) → digest."""


def entries_of(manager: Any, source: str) -> Entries:
    """The entries of a collection, or of a file of JSON lines.

    Raises:
        NotFoundError: There is neither.
        InvalidInputError: The collection has no entries to compare, or the file is not an export.
    """
    if manager.has_collection(source):
        collection = manager.get_collection(source)
        if collection.backend_type == "VDB":
            return {row["id"]: _row(row) for row in collection.scan()}
        if collection.backend_type == "KV":
            return {key: {"value": _digest(value)} for key, value in collection.scan()}
        raise InvalidInputError(
            f"collections of the kind {collection.backend_type} cannot be compared; export both"
        )
    file = Path(source)
    if not file.is_file():
        raise NotFoundError(
            f"{source!r} is neither a collection in {manager.data_dir!r} nor a file"
        )
    return dict(_read(file))


def differences(before: Entries, after: Entries) -> list[dict[str, Any]]:
    """``change`` (``added``, ``removed``, ``changed``), ``id``, and which parts changed."""
    found = []
    for entry in sorted(before.keys() | after.keys()):
        if entry not in before:
            found.append({"change": "added", "id": entry, "parts": []})
        elif entry not in after:
            found.append({"change": "removed", "id": entry, "parts": []})
        elif before[entry] != after[entry]:
            parts = [p for p in before[entry] if before[entry][p] != after[entry].get(p)]
            found.append({"change": "changed", "id": entry, "parts": parts})
    return found


def _read(file: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
                if "key" in row:
                    yield str(row["key"]), {"value": _digest(row.get("value", row.get("msgpack")))}
                else:
                    yield str(row["id"]), _row(row)
            except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
                raise InvalidInputError(
                    f"{str(file)!r}, line {number}: not an exported row with an id"
                ) from exc


def _row(row: Mapping[str, Any]) -> dict[str, bytes]:
    return {"text": _digest(row["text"]), "metadata": _digest(row.get("metadata") or {})}


def _digest(value: Any) -> bytes:
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.blake2b(data, digest_size=16).digest()
