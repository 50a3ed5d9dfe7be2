"""Inputs whose results have not been put out, of a task that works on several at a time."""

from __future__ import annotations

from typing import Any


class Pending:
    """Entries by sequence number, from when they are taken until their results are out.

    Not thread-safe: the caller holds its lock, or runs on the event loop.

    Args:
        ordered: Whether results go out in sequence.
    """

    __slots__ = ("_entries", "_first", "_ordered")

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._entries: dict[int, Any] = {}
        self._first = 0

    def add(self, seq: int, entry: Any) -> None:
        """Entry ``seq`` is being worked on."""
        self._entries[seq] = entry

    def done(self, seq: int, released: int) -> None:
        """The results of ``seq`` are made; all before ``released`` are out (ordered)."""
        if not self._ordered:
            self._entries.pop(seq, None)
            return
        while self._first < released:
            self._entries.pop(self._first, None)
            self._first += 1

    def entries(self) -> list[Any]:
        """What is pending, in the order of the input."""
        return [entry for _, entry in sorted(self._entries.items())]
