"""Putting out the results of items that were worked on side by side: in order, or as they come."""

from __future__ import annotations

from typing import Any

from sage.kernel.ledger.current import CURRENT, Current
from sage.kernel.runtime.channel import Channel
from sage.kernel.runtime.lineage import Lineage

Result = tuple[Lineage | None, int, list[tuple[int, Any]]]
"""Lineage and offset of an input item, and its outputs: ``(channel plan id, value)``."""


class ExpandedLineage:
    """Outputs of one item that gave several (or none at some channel)."""

    __slots__ = ("lineage", "offset")

    def __init__(self, lineage: Lineage, offset: int) -> None:
        self.lineage = lineage
        self.offset = offset

    def resolve(self, position: int) -> str:
        return f"{self.lineage.resolve(self.offset)}/{position}"


class Release:
    """Emits results, by sequence number when ``ordered``.

    Not thread-safe: the caller holds its lock, or runs on the event loop.

    Attributes:
        next: Sequence number that goes out next (ordered).
        stop_at: Results from this number on are never put out: an item before them failed.
    """

    __slots__ = ("_channels", "_keyed", "_ordered", "_puts", "_waiting", "next", "stop_at")

    def __init__(
        self,
        puts: dict[int, Any],
        keyed: set[int],
        outputs: dict[int, list[Channel]],
        ordered: bool,
    ) -> None:
        self._puts = puts
        self._keyed = keyed
        self._channels = {cid: c[0] for cid, c in outputs.items() if len(c) == 1}
        self._ordered = ordered
        self._waiting: dict[int, list[Result]] = {}
        self.next = 0
        self.stop_at: int | None = None

    @property
    def behind(self) -> int:
        """Results that wait for an earlier one."""
        return len(self._waiting)

    def add(self, seq: int, results: list[Result]) -> None:
        """Results of the item (or chunk) number ``seq``."""
        if not self._ordered:
            self._emit(results)
            return
        if seq != self.next:
            self._waiting[seq] = results
            return
        due: list[Result] | None = results
        while due is not None:
            if self.stop_at is not None and self.next > self.stop_at:
                return
            self._emit(due)
            self.next += 1
            due = self._waiting.pop(self.next, None)

    def _emit(self, results: list[Result]) -> None:
        for lineage, offset, outs in results:
            single = len(outs) == 1
            for nth, (cid, value) in enumerate(outs):
                channel = self._channels.get(cid)
                if channel is not None:
                    if lineage is not None:
                        if single:
                            channel.lineage.begin(channel.total, lineage, offset)
                        else:
                            expanded = ExpandedLineage(lineage, offset)
                            channel.lineage.begin(channel.total, expanded, nth)
                    channel.total += 1
                if cid in self._keyed and channel is None and lineage is not None:
                    self._put_here(cid, value, lineage, offset, None if single else nth)
                elif cid in self._keyed:
                    self._puts[cid](*value)
                else:
                    self._puts[cid](value)

    def _put_here(
        self, cid: int, value: Any, lineage: Lineage, offset: int, nth: int | None
    ) -> None:
        """Put a record into one of several subtasks, which asks for its id."""
        current = Current(lineage, offset)
        if nth is not None:
            current = Current(ExpandedLineage(lineage, offset), nth)
        before = CURRENT.set(current)
        try:
            self._puts[cid](*value)
        finally:
            CURRENT.reset(before)
