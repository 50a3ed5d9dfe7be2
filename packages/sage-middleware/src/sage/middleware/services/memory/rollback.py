"""Takes memory back to where a run was at a checkpoint, entry by entry of its journal.

An entry is undone only where things are as it left them: what somebody else has changed since
stays. An entry whose change was never made, because the process died in between, changes nothing,
and a rollback that was broken off is simply begun again.

Predecessor: ``sage.middleware.services.memory.journal``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sage.middleware.services.memory.journal import Journal, text_digest, value_digest
from sage.middleware.services.memory.memory_collection.kv_collection import (
    ABSENT,
    KVMemoryCollection,
)
from sage.middleware.services.memory.memory_manager import MemoryManager

Entry = Mapping[str, Any]


def roll_back(manager: MemoryManager, journal: Journal, run: str, epoch: int) -> int:
    """Undo what a run wrote in an epoch and those after it.

    Args:
        manager: The collections.
        journal: Their journal.
        run: The run.
        epoch: Number of the checkpoint that the run goes back to; 0: all it wrote.

    Returns:
        How many entries there were.
    """
    entries = journal.since(run, epoch)
    for key, entry in entries:
        if manager.has_collection(entry["collection"]):  # else it was deleted since
            _UNDO[entry["kind"]](manager.get_collection(entry["collection"]), entry)
        journal.done(key)
    return len(entries)


def _rows(collection: Any, entry: Entry) -> None:
    rows: Mapping[str, Any] = entry["rows"]
    there = {row["id"]: row["text"] for row in collection.get(list(rows))}
    ours = [id_ for id_, row in rows.items() if text_digest(there.get(id_)) == row["after"]]
    gone = [id_ for id_ in ours if rows[id_]["before"] is None and id_ in there]
    if gone:
        collection.delete(gone, missing_ok=True)
    back = [id_ for id_ in ours if rows[id_]["before"] is not None]
    if not back:
        return
    before = [rows[id_]["before"] for id_ in back]
    vectors = None
    if all("vector" in row for row in before):
        vectors = np.stack([np.frombuffer(row["vector"], np.float32) for row in before])
    collection.upsert(
        [row["text"] for row in before], [row["metadata"] for row in before], back, vectors=vectors
    )


def _key(kv: KVMemoryCollection, entry: Entry) -> None:
    key = entry["key"]
    if value_digest(kv.get(key, ABSENT)) != entry["after"]:
        return
    expires = entry.get("expires")
    left = None if expires is None else expires - time.time()
    if "before" in entry and (left is None or left > 0):
        kv.put(key, entry["before"], left)
    else:
        kv.delete(key)


def _turn(kv: KVMemoryCollection, entry: Entry) -> None:
    def without(state: dict[str, Any]) -> dict[str, Any]:
        turns = [turn for turn in state["turns"] if turn["id"] != entry["id"]]
        if len(turns) == len(state["turns"]):
            return state
        known = {turn["id"] for turn in turns}
        back = [turn for turn in entry["dropped"] if turn["id"] not in known]
        last = state["next"] == entry["number"] + 1
        return {
            **state,
            "turns": sorted([*back, *turns], key=lambda turn: turn["number"]),
            "dropped": state["dropped"] - len(back),
            "next": entry["number"] if last else state["next"],
        }

    _change(kv, entry, without, lambda state: state["next"] == 1)


def _summary(kv: KVMemoryCollection, entry: Entry) -> None:
    def without(state: dict[str, Any]) -> dict[str, Any]:
        if value_digest(state["summary"]) != entry["after"]:
            return state
        return {**state, "summary": entry["before"], "turns": [*entry["gone"], *state["turns"]]}

    _change(kv, entry, without)


def _use(kv: KVMemoryCollection, entry: Entry) -> None:
    field = entry["field"]

    def less(counts: dict[str, Any]) -> dict[str, Any]:
        if counts.get(field, 0) < entry["count"]:
            return counts  # it was never counted
        left = {**counts, field: counts[field] - 1}
        if counts[field] == entry["count"]:
            left[f"last_{field}"] = entry["last"]
        return left if left[field] else {k: v for k, v in left.items() if not k.endswith(field)}

    _change(kv, entry, less, lambda counts: not counts)


def _change(
    kv: KVMemoryCollection,
    entry: Entry,
    change: Callable[[Any], Any],
    empty: Callable[[Any], bool] = lambda value: False,
) -> None:
    """Change a value that is there, for as long as it has to live; what is ``empty`` is removed."""
    key = entry["key"]
    if key not in kv:
        return

    def changed(stored: Any) -> Any:
        if stored is ABSENT:
            return ABSENT
        value = change(stored)
        return ABSENT if empty(value) else value

    kv.update(key, changed, kv.ttl(key))


_UNDO: Mapping[str, Callable[[Any, Entry], None]] = {
    "rows": _rows,
    "key": _key,
    "turn": _turn,
    "summary": _summary,
    "use": _use,
}
