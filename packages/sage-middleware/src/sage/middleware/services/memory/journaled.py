"""Changes of single collections through the service, noted in the journal first.

``VDB`` and ``KV`` collections go back with the checkpoints of a job; other kinds do not. Successor:
``sage.middleware.services.memory.service``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sage.middleware.services.memory.journal import Journal, writer
from sage.middleware.services.memory.memory_collection.kv_collection import (
    ABSENT,
    KVMemoryCollection,
)
from sage.middleware.services.memory.vdb.rows import IdSource, as_lists

_ids = IdSource()


def insert_many(
    journal: Journal,
    collection: Any,
    texts: Iterable[str],
    metadatas: Sequence[Mapping[str, Any] | None] | None = None,
    ids: Iterable[str] | None = None,
    *,
    vectors: Any = None,
) -> list[str]:
    """``insert_many`` of a vector collection."""
    if writer() is not None:
        texts = list(texts)
        ids = _ids.take(len(texts)) if ids is None else list(ids)
        journal.rows(collection, dict(zip(ids, texts, strict=False)))
    made: list[str] = collection.insert_many(texts, metadatas, ids, vectors=vectors)
    return made


def upsert(
    journal: Journal,
    collection: Any,
    texts: str | Iterable[str],
    metadatas: Any = None,
    ids: str | Iterable[str] | None = None,
    *,
    vectors: Any = None,
) -> list[str]:
    """``upsert`` of a vector collection."""
    if writer() is not None:
        texts, metadatas, ids, vectors = as_lists(texts, metadatas, ids, vectors)
        texts = list(texts)
        ids = _ids.take(len(texts)) if ids is None else list(ids)
        journal.rows(collection, dict(zip(ids, texts, strict=False)))
    made: list[str] = collection.upsert(texts, metadatas, ids, vectors=vectors)
    return made


def update(journal: Journal, collection: Any, name: str, *args: Any, **options: Any) -> Any:
    """``update`` of a vector collection (``name`` is an id) or of keys and values (a key)."""
    if writer() is not None:
        if isinstance(collection, KVMemoryCollection):
            return _update_key(journal, collection, name, *args, **options)
        if collection.backend_type == "VDB":
            text = args[0] if args else options.get("text")
            if text is None and (row := collection.get(name)) is not None:
                text = row["text"]
            journal.rows(collection, {name: text})
    return collection.update(name, *args, **options)


def _update_key(
    journal: Journal,
    kv: KVMemoryCollection,
    key: str,
    change: Callable[[Any], Any],
    ttl: float | None = None,
) -> Any:
    def noted(stored: Any) -> Any:
        after = change(stored)
        journal.keys(kv, {key: after}, {key: stored})
        return after

    return kv.update(key, noted, ttl)


def put(journal: Journal, kv: Any, key: str, value: Any, ttl: float | None = None) -> None:
    """``put`` of keys and values."""
    if writer() is not None:
        journal.keys(kv, {key: value})
    kv.put(key, value, ttl)


def delete(journal: Journal, collection: Any, *args: Any, **options: Any) -> Any:
    """``delete`` of a vector collection or of keys and values."""
    if writer() is not None:
        if isinstance(collection, KVMemoryCollection):
            journal.keys(collection, dict.fromkeys((*args, *options.values()), ABSENT))
        elif collection.backend_type == "VDB":
            journal.rows(collection, dict.fromkeys(_chosen(collection, *args, **options)))
    return collection.delete(*args, **options)


def forget(journal: Journal, collection: Any, *args: Any, **options: Any) -> int:
    """``forget`` of any collection: nothing is left in the journal either."""
    if isinstance(collection, KVMemoryCollection):
        chosen = [*(args[0] if args else options.get("keys", ()))]
        if options.get("prefix") is not None:
            chosen.extend(collection.keys(options["prefix"]))
    elif collection.backend_type == "VDB":
        where = args[0] if args else options.get("where")
        chosen = _chosen(collection, options.get("ids"), where=where)
    else:
        chosen = []
    count: int = collection.forget(*args, **options)
    journal.forget(collection.name, chosen)
    return count


def _chosen(collection: Any, ids: Any = None, *, where: Any = None, **_: Any) -> list[str]:
    if ids is not None:
        return [ids] if isinstance(ids, str) else list(ids)
    return [] if where is None else [row["id"] for row in collection.scan(where)]
