"""Joins of two inputs by key: symmetric hash joins that emit a pair once both sides are there.

``match="all"`` pairs every left item with every right item of its key. Both sides are kept until
the other input ends (or for ``window`` seconds). ``match="one"`` pairs the oldest waiting items and
forgets both, so that memory holds only items that still wait: right for a branch that joins itself
by id.

Order of what is emitted: when an item arrives, its pairs in the order in which the other items
came. Unmatched items of an outer join, as ``function(left, None)`` or ``function(None, right)``,
when it is certain that no partner comes: at expiry, or when the other input has ended; oldest
first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from sage.api.context import RuntimeContext
from sage.kernel.operators.base import StatefulOperator
from sage.kernel.operators.emit import DROPPED
from sage.kernel.operators.keys import check_hashable

Function = Callable[[Any, Any], Any]
Owns = Callable[[Any], bool]
_MISSING: Final = object()


def make_pair(left: Any, right: Any) -> tuple[Any, Any]:
    """Result of a join without a function."""
    return (left, right)


def merge_sides(states: list[dict[str, Any]], owns: Owns) -> dict[str, Any]:
    """One snapshot of a join from those of several subtasks; an input has ended if for all."""
    return {
        "ended": [all(state["ended"][port] for state in states) for port in (0, 1)],
        "sides": [
            [entry for state in states for entry in state["sides"][port] if owns(entry[0])]
            for port in (0, 1)
        ],
    }


class InnerJoinOne(StatefulOperator):
    """Inner join in which each item has at most one partner.

    Attributes:
        waiting: For each input, key -> the oldest waiting item.
        overflow: For each input, key -> further waiting items, in arrival order; separate, because
            ids are nearly always unique and a queue per key costs ten times the memory.
    """

    def __init__(self, function: Function | None, ctx: RuntimeContext) -> None:
        self._function = function or make_pair
        self._ctx = ctx
        self._ended = [False, False]
        self.waiting: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})
        self.overflow: tuple[dict[Any, deque[Any]], dict[Any, deque[Any]]] = ({}, {})

    def process(self, value: Any, port: int = 0) -> Iterable[Any]:
        """Take one item; outputs that it completes."""
        key = self._ctx.key
        try:
            other = self.waiting[1 - port].pop(key, _MISSING)
            if other is _MISSING:
                if not self._ended[1 - port]:
                    mine = self.waiting[port]
                    if key in mine:
                        self.overflow[port].setdefault(key, deque()).append(value)
                    else:
                        mine[key] = value
                return ()
        except TypeError:
            check_hashable(self._ctx)
            raise
        if self.overflow[1 - port]:
            self._promote(1 - port, key)
        result = self._function(value, other) if port == 0 else self._function(other, value)
        return () if result is DROPPED else (result,)

    def _promote(self, port: int, key: Any) -> None:
        queue = self.overflow[port].get(key)
        if queue is None:
            return
        self.waiting[port][key] = queue.popleft()
        if not queue:
            del self.overflow[port][key]

    def end_input(self, port: int) -> Iterable[Any]:
        """One input has ended."""
        self._ended[port] = True
        self.waiting[1 - port].clear()
        self.overflow[1 - port].clear()
        return ()

    def snapshot(self) -> dict[str, Any]:
        """State as plain data and the user's values."""
        return {
            "ended": list(self._ended),
            "sides": [
                [
                    [key, [value, *self.overflow[port].get(key, ())]]
                    for key, value in self.waiting[port].items()
                ]
                for port in (0, 1)
            ],
        }

    def merge(self, states: list[dict[str, Any]], owns: Owns) -> dict[str, Any]:
        """One snapshot from those of several subtasks."""
        return merge_sides(states, owns)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self._ended = list(state["ended"])
        for port in (0, 1):
            self.waiting[port].clear()
            self.overflow[port].clear()
            for key, (first, *rest) in state["sides"][port]:
                self.waiting[port][key] = first
                if rest:
                    self.overflow[port][key] = deque(rest)


class _Entry:
    """One stored item of a general join."""

    __slots__ = ("alive", "deadline", "key", "matched", "value")

    def __init__(self, key: Any, value: Any, deadline: float) -> None:
        self.key = key
        self.value = value
        self.deadline = deadline
        self.matched = False
        self.alive = True


class HashJoin(StatefulOperator):
    """Every other join: outer variants, ``match="all"``, expiry.

    Args:
        outer: For each input, whether its unmatched items are emitted.
        once: ``match="one"``: a pair leaves the state.
        window: Seconds after its arrival for which an item can find a partner; ``None`` for as long
            as the other input lasts.
        clock: Unix seconds now.
    """

    def __init__(
        self,
        function: Function | None,
        ctx: RuntimeContext,
        *,
        outer: tuple[bool, bool],
        once: bool,
        window: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._function = function or make_pair
        self._ctx = ctx
        self._outer = outer
        self._once = once
        self._window = math.inf if window is None else window
        self._clock = clock
        self._ended = [False, False]
        self._tables: tuple[dict[Any, deque[_Entry]], ...] = ({}, {})
        # All stored items of a side by age; an item that left its table early is not alive.
        self._by_age: tuple[deque[_Entry], deque[_Entry]] = (deque(), deque())
        self._alive = [0, 0]
        self._alone: deque[tuple[int, _Entry]] = deque()

    def process(self, value: Any, port: int = 0) -> Iterable[Any]:
        """Take one item; outputs that it completes."""
        timed = self._window != math.inf
        now = self._clock() if timed else 0.0
        if timed:
            self._expire(now)
        key = self._ctx.key
        try:
            partners = self._tables[1 - port].get(key)
        except TypeError:
            check_hashable(self._ctx)
            raise
        entry = _Entry(key, value, now + self._window)
        found: list[Any] = []
        if partners:
            entry.matched = True
            if self._once:
                partner = partners.popleft()
                if not partners:
                    del self._tables[1 - port][key]
                partner.alive = False
                self._alive[1 - port] -= 1
                found.append(partner.value)
                partner.value = None
                self._forget_dead(1 - port)
            else:
                for partner in partners:
                    partner.matched = True
                    found.append(partner.value)
        if self._ended[1 - port]:
            if not entry.matched and self._outer[port]:
                self._alone.append((port, entry))
        elif not (self._once and entry.matched):
            self._tables[port].setdefault(key, deque()).append(entry)
            self._by_age[port].append(entry)
            self._alive[port] += 1
        if not found and not self._alone:
            return ()
        return self._emit(value, port, found)

    def _emit(self, value: Any, port: int, partners: list[Any]) -> list[Any]:
        out = list(self._emit_alone())
        function = self._function
        for other in partners:
            result = function(value, other) if port == 0 else function(other, value)
            if result is not DROPPED:
                out.append(result)
        return out

    def _emit_alone(self) -> Iterator[Any]:
        alone, ctx = self._alone, self._ctx
        before = ctx.key
        while alone:
            port, entry = alone.popleft()
            ctx.key = entry.key
            result = (
                self._function(entry.value, None)
                if port == 0
                else self._function(None, entry.value)
            )
            if result is not DROPPED:
                yield result
        ctx.key = before

    def _forget_dead(self, port: int) -> None:
        """Drop matched items at the old end, so that they do not pile up without a window."""
        by_age = self._by_age[port]
        while by_age and not by_age[0].alive:
            by_age.popleft()
        if len(by_age) > 64 and len(by_age) > 2 * self._alive[port]:
            alive = [entry for entry in by_age if entry.alive]
            by_age.clear()
            by_age.extend(alive)

    def _expire(self, now: float) -> None:
        left, right = self._by_age
        while True:
            due = [
                (by_age[0].deadline, port)
                for port, by_age in enumerate((left, right))
                if by_age and by_age[0].deadline <= now
            ]
            if not due:
                return
            _, port = min(due)
            self._release(port, self._by_age[port].popleft())

    def _release(self, port: int, entry: _Entry) -> None:
        """Take the oldest stored item of its key out of the state."""
        if not entry.alive:
            return
        entry.alive = False
        self._alive[port] -= 1
        table = self._tables[port]
        waiting = table[entry.key]
        waiting.popleft()
        if not waiting:
            del table[entry.key]
        if not entry.matched and self._outer[port]:
            self._alone.append((port, entry))

    def next_time(self) -> float | None:
        """When ``on_time`` wants to be called next (unix seconds)."""
        if self._window == math.inf:
            return None
        deadlines = [by_age[0].deadline for by_age in self._by_age if by_age]
        return min(deadlines) if deadlines else None

    def on_time(self, now: float) -> Iterable[Any]:
        """Outputs that are due."""
        self._expire(now)
        return self._emit_alone()

    def end_input(self, port: int) -> Iterable[Any]:
        """No partner comes from ``port`` any more: let go of what waits for one."""
        self._ended[port] = True
        by_age = self._by_age[1 - port]
        while by_age:
            self._release(1 - port, by_age.popleft())
        return self._emit_alone()

    def finish(self) -> Iterable[Any]:
        """Outputs of what is left when the input has ended."""
        for port in (0, 1):
            by_age = self._by_age[port]
            while by_age:
                self._release(port, by_age.popleft())
        return self._emit_alone()

    def snapshot(self) -> dict[str, Any]:
        """State as plain data and the user's values."""
        return {
            "ended": list(self._ended),
            "sides": [
                [
                    [e.key, e.value, None if e.deadline == math.inf else e.deadline, e.matched]
                    for e in by_age
                    if e.alive
                ]
                for by_age in self._by_age
            ],
        }

    def merge(self, states: list[dict[str, Any]], owns: Owns) -> dict[str, Any]:
        """One snapshot from those of several subtasks; what expires first comes first."""
        merged = merge_sides(states, owns)
        if self._window != math.inf:
            for side in merged["sides"]:
                side.sort(key=lambda entry: entry[2])
        return merged

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self._ended = list(state["ended"])
        for port in (0, 1):
            table, by_age = self._tables[port], self._by_age[port]
            table.clear()
            by_age.clear()
            for key, value, deadline, matched in state["sides"][port]:
                entry = _Entry(key, value, math.inf if deadline is None else deadline)
                entry.matched = matched
                table.setdefault(key, deque()).append(entry)
                by_age.append(entry)
            self._alive[port] = len(by_age)
