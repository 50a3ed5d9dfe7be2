"""What the writes of a run replaced, so that memory goes back with the checkpoints of the run.

Before a step of a job with checkpoints changes something, an entry in a ``KV`` collection says what
was there. Entries are kept by run and epoch: the checkpoint that the step had passed last. When the
run goes on from checkpoint ``n``, ``rollback`` undoes the entries of epochs from ``n`` on, the last
one first; the records they are from are worked on again. Outside of such jobs nothing is noted.

Undoing does not put back a whole state: steps pass a checkpoint at different times, so that one
step's turn of a session must go while another's stays.

Predecessor: ``sage.kernel.runtime.partaking``; successor: ``rollback``.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sage.api.calls import CALLER
from sage.api.context import RuntimeContext
from sage.middleware.services.memory.errors import CollectionExistsError
from sage.middleware.services.memory.kv.codec import encode
from sage.middleware.services.memory.kv.keys import key_of, last_part
from sage.middleware.services.memory.memory_collection.kv_collection import (
    ABSENT,
    KVMemoryCollection,
)
from sage.middleware.services.memory.memory_manager import MemoryManager

JOURNAL: Final = "journal"
"""Name of the collection; it is made by the first entry."""

KEEP: Final = 30 * 86400.0
"""Seconds after which an entry is dropped, if nothing else is said."""

_clock_lock = threading.Lock()
_last = 0


def writer() -> RuntimeContext | None:
    """The step that writes, if it belongs to a job with checkpoints."""
    caller = CALLER.get()
    return caller if caller is not None and caller.epoch is not None else None


class Journal:
    """The entries in one data directory.

    Args:
        manager: The collections.
        durability: Of the journal, if it is made; that of what it is about.
        keep: Seconds after which an entry is dropped: as long a run can go back.
    """

    def __init__(
        self, manager: MemoryManager, *, durability: str = "process", keep: float | None = KEEP
    ) -> None:
        self._manager = manager
        self._durability = durability
        self._keep = keep
        self._lock = threading.Lock()
        self._kv: KVMemoryCollection | None = None

    def rows(
        self,
        collection: Any,
        after: Mapping[str, str | None],
        step: RuntimeContext | None = None,
    ) -> None:
        """Note that rows of a vector collection are about to change.

        Args:
            collection: The collection.
            after: Id → text the row will have, or ``None`` if it will be gone.
            step: Who changes them; default: the step that has called the service.
        """
        step = writer() if step is None else step
        if step is None or step.epoch is None or not after:
            return
        there = {row["id"]: row for row in collection.get(list(after), with_vectors=True)}
        entry = {
            "kind": "rows",
            "rows": {
                id_: {"before": _row(there.get(id_)), "after": text_digest(text)}
                for id_, text in after.items()
            },
        }
        self._add(collection.name, [entry], step)

    def keys(
        self,
        collection: KVMemoryCollection,
        after: Mapping[str, Any],
        before: Mapping[str, Any] | None = None,
    ) -> None:
        """Note that keys are about to change.

        Args:
            collection: The collection.
            after: Key → value it will have; ``ABSENT`` if it will be gone.
            before: Their values now, where the caller has them; ``ABSENT`` for none.
        """
        if writer() is None or not after:
            return
        found = collection.get_many(after) if before is None else before
        entries = []
        for key, value in after.items():
            old = found.get(key, ABSENT)
            entry: dict[str, Any] = {"kind": "key", "key": key, "after": value_digest(value)}
            if old is not ABSENT:
                left = None if before is not None else collection.ttl(key)
                entry["before"] = old
                entry["expires"] = None if left is None else time.time() + left
            entries.append(entry)
        self._add(collection.name, entries)

    def turn(
        self, collection: str, key: str, turn: Mapping[str, Any], dropped: Sequence[Any]
    ) -> None:
        """Note that a turn is about to be added to a session, and which turns leave for it."""
        entry = {"kind": "turn", "key": key, "id": turn["id"], "number": turn["number"]}
        self._add(collection, [{**entry, "dropped": list(dropped)}])

    def summary(
        self,
        collection: str,
        key: str,
        before: Any,
        after: Mapping[str, Any],
        gone: Sequence[Any],
    ) -> None:
        """Note that a summary is about to take the place of turns and of the summary ``before``."""
        entry = {"kind": "summary", "key": key, "before": before, "after": value_digest(after)}
        self._add(collection, [{**entry, "gone": list(gone)}])

    def use(self, collection: str, key: str, field: str, count: int, last: float | None) -> None:
        """Note that a count of use is about to become ``count``; ``last``: when it changed last."""
        entry = {"kind": "use", "key": key, "field": field, "count": count, "last": last}
        self._add(collection, [entry])

    # -- reading ---------------------------------------------------------------------------------

    def since(self, run: str, epoch: int) -> list[tuple[str, dict[str, Any]]]:
        """Keys and entries of a run from an epoch on, the last one first."""
        kv = self._existing()
        if kv is None:
            return []
        # Behind the bare number comes first what has that number.
        found = kv.scan(f"{key_of(run)}/", after=key_of(run, f"{epoch:010d}"))
        return sorted(found, key=lambda pair: pair[1]["at"], reverse=True)

    def done(self, key: str) -> None:
        """An entry was undone."""
        kv = self._existing()
        if kv is not None:
            kv.delete(key)

    def forget(self, collection: str, names: Iterable[str]) -> None:
        """Leave nothing of some rows or keys of a collection in any entry.

        Args:
            collection: Its name.
            names: Ids of rows, keys, or what keys of the tiers end with.
        """
        kv, gone = self._existing(), set(names)
        if kv is None or not gone:
            return
        kv.forget(
            [
                key
                for key, entry in kv.scan()
                if entry["collection"] == collection and not gone.isdisjoint(_names(entry))
            ]
        )

    # -- inside ----------------------------------------------------------------------------------

    def _add(
        self, collection: str, entries: list[dict[str, Any]], step: RuntimeContext | None = None
    ) -> None:
        step = writer() if step is None else step
        if step is None:
            return
        facts = {"collection": collection, "step": step.uid, "record": step.record_id}
        made = {}
        for entry in entries:
            at = _next_moment()
            key = key_of(step.job_id, f"{step.epoch:010d}", f"{at:020d}")
            made[key] = {**facts, **entry, "at": at}
        self._made().put_many(made, self._keep)

    def _existing(self) -> KVMemoryCollection | None:
        if self._kv is None and not self._manager.has_collection(JOURNAL):
            return None
        return self._made()

    def _made(self) -> KVMemoryCollection:
        with self._lock:
            if self._kv is None:
                if not self._manager.has_collection(JOURNAL):
                    self._make()
                self._kv = self._manager.connect_collection(JOURNAL)
            return self._kv

    def _make(self) -> None:
        what = "What runs with checkpoints replaced"
        try:
            self._manager.create_collection(JOURNAL, "KV", what, durability=self._durability)
        except CollectionExistsError:  # another process was faster
            if not self._manager.has_collection(JOURNAL):
                raise


def text_digest(text: str | None) -> bytes | None:
    """By which a row is known to be as it was written; back ends store metadata differently."""
    return None if text is None else _digest(text.encode("utf-8", "surrogatepass"))


def value_digest(value: Any) -> bytes | None:
    """The same for a value."""
    return None if value is ABSENT else _digest(encode(value))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _row(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    vector = row.get("vector")
    kept = {"text": row["text"], "metadata": row["metadata"]}
    return kept if vector is None else {**kept, "vector": vector.astype("float32").tobytes()}


def _names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    key = entry.get("key")
    return tuple(entry["rows"]) if key is None else (key, last_part(key))


def _next_moment() -> int:
    """Nanoseconds since 1970, a later one at each call."""
    global _last  # noqa: PLW0603 - one order for all journals of the process
    with _clock_lock:
        _last = max(time.time_ns(), _last + 1)
        return _last
