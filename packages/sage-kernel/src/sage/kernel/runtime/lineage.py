"""Where a record came from, kept per batch and resolved only when somebody asks.

A record id is ``source-uid:offset``; an expansion adds ``/n`` for the n-th output of its parent,
``@n`` says that the record came back through feedback for the n-th time; a window, join or other
stateful step starts ids of its own, ``step-uid:n``. Nothing is kept per record on the way: a batch
that maps one to one shares the lineage of its input, and one that drops or expands has a list of
parent positions.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Lineage(Protocol):
    """Ids of the records of a batch, by position."""

    def resolve(self, position: int) -> str: ...


class OriginLineage:
    """Records that a source or a stateful step numbered: ``uid:start + position``."""

    __slots__ = ("start", "uid")

    def __init__(self, uid: str, start: int = 0) -> None:
        self.uid = uid
        self.start = start

    def resolve(self, position: int) -> str:
        return f"{self.uid}:{self.start + position}"


class DerivedLineage:
    """Outputs of a segment that drops or expands.

    ``parents[i]`` is the input position of output ``i``; the list may still grow meanwhile.
    """

    __slots__ = ("expands", "offset", "parent", "parents")

    def __init__(
        self, parent: Lineage, parents: list[int], offset: int = 0, expands: bool = False
    ) -> None:
        self.parent = parent
        self.parents = parents
        self.offset = offset
        self.expands = expands

    def resolve(self, position: int) -> str:
        at = self.parents[position]
        record = self.parent.resolve(self.offset + at)
        if not self.expands:
            return record
        nth = 0
        while position - nth > 0 and self.parents[position - nth - 1] == at:
            nth += 1
        return f"{record}/{nth}"


class ConcatLineage:
    """Lineage of a batch taken from several runs: ``(first position, lineage, offset)``."""

    __slots__ = ("runs",)

    def __init__(self, runs: list[tuple[int, Lineage, int]]) -> None:
        self.runs = runs

    def resolve(self, position: int) -> str:
        for first, lineage, offset in reversed(self.runs):
            if position >= first:
                return lineage.resolve(offset + position - first)
        raise IndexError(position)


class LineageLog:
    """Runs of a channel in order: from which absolute position on which lineage holds.

    One thread appends (the producer), one reads and trims (the consumer).
    """

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: deque[tuple[int, Lineage, int]] = deque()

    def begin(self, position: int, lineage: Lineage, offset: int) -> None:
        """Records from ``position`` on are ``lineage`` at ``offset``."""
        runs = self._runs
        if runs:
            first, last, start = runs[-1]
            if last is lineage and offset - start == position - first:
                return
            if first == position:
                runs.pop()
        runs.append((position, lineage, offset))

    def restore(self, position: int, lineage: Lineage) -> None:
        """Records from ``position`` on were taken out of this channel, with these ids."""
        self._runs.append((position, lineage, 0))

    def slice(self, start: int, count: int) -> tuple[Lineage, int] | None:
        """Lineage and offset of ``count`` records from ``start``; forgets the runs before."""
        runs = self._runs
        while len(runs) > 1 and runs[1][0] <= start:
            runs.popleft()
        if not runs:
            return None
        if len(runs) == 1 or runs[1][0] >= start + count:
            first, lineage, offset = runs[0]
            return lineage, offset + start - first
        parts: list[tuple[int, Lineage, int]] = []
        for first, lineage, offset in list(runs):
            if first >= start + count:
                break
            parts.append((max(0, first - start), lineage, offset + max(0, start - first)))
        return ConcatLineage(parts), 0


class LapLineage:
    """Records on their way back: one lap more than ``parent`` says."""

    __slots__ = ("laps", "parent")

    def __init__(self, parent: Lineage) -> None:
        self.parent = parent
        self.laps = 1
        if isinstance(parent, LapLineage):
            self.parent, self.laps = parent.parent, parent.laps + 1

    def of(self, parent: Lineage) -> bool:
        """Whether this is the lap after ``parent``."""
        if isinstance(parent, LapLineage):
            return self.parent is parent.parent and self.laps == parent.laps + 1
        return self.parent is parent and self.laps == 1

    def resolve(self, position: int) -> str:
        record = self.parent.resolve(position)
        before, mark, laps = record.rpartition("@")
        if mark and laps.isdigit():
            return f"{before}@{int(laps) + self.laps}"
        return f"{record}@{self.laps}"


class LapLog(LineageLog):
    """The log of a feedback channel: what comes back is the record in its next lap."""

    __slots__ = ()

    def begin(self, position: int, lineage: Lineage, offset: int) -> None:
        runs = self._runs
        last = runs[-1][1] if runs else None
        if not (isinstance(last, LapLineage) and last.of(lineage)):
            last = LapLineage(lineage)
        super().begin(position, last, offset)
