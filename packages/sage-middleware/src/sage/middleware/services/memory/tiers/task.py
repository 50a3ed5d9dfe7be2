"""Memory of a task: values and notes that end with it, unless they are promoted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.memory_collection.kv_collection import (
    ABSENT,
    KVMemoryCollection,
)
from sage.middleware.services.memory.tiers.provenance import Provenance, key_of, last_part

_ROOT = "task"
_VALUE = "value"
_NOTE = "note"
_COUNT = "count"


class TaskMemory:
    """Values by key and notes in order, each task by itself, in a ``KV`` collection."""

    def __init__(self, collection: KVMemoryCollection) -> None:
        self._kv = collection

    def set(self, task: str, key: str, value: Any) -> None:
        """Keep a value; see ``KVMemoryCollection`` for what can be one."""
        self._kv.put(key_of(_ROOT, _task(task), _VALUE, key), value)

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
        number = self._kv.update(
            key_of(_ROOT, _task(task), _COUNT), lambda n: 1 if n is ABSENT else n + 1
        )
        self._kv.put(
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
        return promoted, self._kv.delete_prefix(f"{key_of(_ROOT, _task(task))}/")


def _task(task: str) -> str:
    if not isinstance(task, str) or not task:
        raise InvalidInputError(f"a task is named {task!r}; expected text")
    return task
