"""Memory of a task: values and notes that end with it, unless they are promoted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.journal import Journal
from sage.middleware.services.memory.kv.keys import key_of, last_part
from sage.middleware.services.memory.memory_collection.kv_collection import (
    ABSENT,
    KVMemoryCollection,
)
from sage.middleware.services.memory.tiers.provenance import Provenance

_ROOT = "task"
_VALUE = "value"
_NOTE = "note"
_COUNT = "count"


class TaskMemory:
    """Values by key and notes in order, each task by itself, in a ``KV`` collection.

    Args:
        collection: Where they are kept.
        journal: Where changes are noted, to be undone with the checkpoints of a job.
    """

    def __init__(self, collection: KVMemoryCollection, journal: Journal | None = None) -> None:
        self._kv = collection
        self._journal = journal

    def set(self, task: str, key: str, value: Any) -> None:
        """Keep a value; see ``KVMemoryCollection`` for what can be one."""
        self._put(key_of(_ROOT, _task(task), _VALUE, key), value)

    def get(self, task: str, key: str, default: Any = None) -> Any:
        """A value, or ``default``."""
        return self._kv.get(key_of(_ROOT, _task(task), _VALUE, key), default)

    def values(self, task: str) -> dict[str, Any]:
        """All values of a task."""
        prefix = f"{key_of(_ROOT, _task(task), _VALUE)}/"
        return {last_part(key): value for key, value in self._kv.scan(prefix)}

    def note(
        self,
        task: str,
        text: str,
        metadata: Mapping[str, Any] | None = None,
        provenance: Provenance | Mapping[str, Any] | None = None,
    ) -> int:
        """Add a note; returns its number, from 1."""
        if not isinstance(text, str) or not text.strip():
            raise InvalidInputError(f"a note is {text!r}; expected text")
        origin = Provenance.of(provenance).to_fields()
        counter = key_of(_ROOT, _task(task), _COUNT)

        def next_number(stored: Any) -> int:
            after = 1 if stored is ABSENT else int(stored) + 1
            if self._journal is not None:
                self._journal.keys(self._kv, {counter: after}, {counter: stored})
            return after

        number = self._kv.update(counter, next_number)
        self._put(
            key_of(_ROOT, task, _NOTE, f"{number:012d}"),
            {
                "number": number,
                "text": text,
                "metadata": dict(metadata or {}),
                "provenance": origin,
                "at": time.time(),
            },
        )
        return int(number)

    def notes(self, task: str) -> list[dict[str, Any]]:
        """The notes of a task, oldest first: ``number, text, metadata, provenance, at``."""
        return [note for _, note in self._kv.scan(f"{key_of(_ROOT, _task(task), _NOTE)}/")]

    def tasks(self) -> list[str]:
        """Names of the tasks that hold anything, sorted."""
        parts = (key.split("/")[1] for key in self._kv.keys(f"{_ROOT}/"))
        return sorted({last_part(part) for part in parts})

    def end(
        self, task: str, promote: Callable[[dict[str, Any]], Any] | None = None
    ) -> tuple[list[Any], int]:
        """End a task: hand its notes to ``promote`` one by one, then forget all of it.

        A crash in between leaves the task: ending it again promotes again, which the write gate of
        long-term memory makes harmless.

        Returns:
            What ``promote`` returned for each note, and how many entries were forgotten.
        """
        promoted = [promote(note) for note in self.notes(task)] if promote is not None else []
        prefix = f"{key_of(_ROOT, _task(task))}/"
        if self._journal is not None:
            self._journal.keys(self._kv, dict.fromkeys(self._kv.keys(prefix), ABSENT))
        return promoted, self._kv.delete_prefix(prefix)

    def _put(self, key: str, value: Any) -> None:
        if self._journal is not None:
            self._journal.keys(self._kv, {key: value})
        self._kv.put(key, value)


def _task(task: str) -> str:
    if not isinstance(task, str) or not task:
        raise InvalidInputError(f"a task is named {task!r}; expected text")
    return task
