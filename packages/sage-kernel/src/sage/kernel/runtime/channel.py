"""Bounded channels between tasks: the reader takes everything that is there.

One producer, one consumer. A record is appended to the open list (``items``), which the generated
code does itself; the reader copies a slice and deletes it. Under the global interpreter lock (or
the per-list lock of free-threaded builds) each of these steps is atomic, so no lock is taken while
both sides are busy. Only a side that has to wait takes part in a hand-shake: it says that it
waits, looks again, and sleeps on a lock that the other side releases. No timers, no polling.

``limit`` bounds the records that are in the channel or in the reader's hands; the reader takes at
most half of it at a time, so that the producer can fill the other half meanwhile.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from collections.abc import Callable
from time import perf_counter
from typing import Any

from sage.kernel.runtime.lineage import LapLog, LineageLog

DEFAULT_CAPACITY = 4096
"""Records between two threads: fewer hand-overs of the interpreter lock (measured: 1,024 costs a
chain of eight threads half as much again)."""
SLOW_CAPACITY = 1024
"""Records before a step that waits for others (async, processes): running further ahead of it gains
nothing."""
DEFAULT_BYTES = 64 * 1024 * 1024


class ChannelAborted(BaseException):
    """Raised in a task that touches a channel of a canceled job."""


class Barrier:
    """Stands between the records before and after checkpoint ``id``; see ``Channel.mark``."""

    __slots__ = ("id",)

    def __init__(self, id: int) -> None:  # noqa: A002 - the field's word
        self.id = id

    def __repr__(self) -> str:
        return f"Barrier({self.id})"


class Signal:
    """What one sleeping thread waits on. ``fire`` may be called from any thread, any time."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def wait(self, timeout: float = -1) -> bool:
        return self._lock.acquire(True, timeout)

    def fire(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:  # already fired: one wake-up is enough
            return


class Channel:
    """See the module.

    Attributes:
        items: The open list. Only the producer appends, only the consumer deletes.
        waiting: True while the consumer sleeps: the producer must call ``wake``.
        limit: Most records held; shrinks when records are large (``max_bytes``).
        in_hand: Records the consumer took and has not finished.
        total: Records ever appended, counted per batch by the producer.
        taken: Records ever taken.
        produced, completed: For loops only, see ``sage.kernel.runtime.loops``.
        barrier: The barrier the consumer has come to; what is behind it waits for ``pass_on``.
        marked, passed: Barriers that were put in, and those the consumer is done with.
    """

    __slots__ = (
        "_on_ready",
        "_on_room",
        "_reader",
        "_sampled",
        "_writer",
        "_writer_waits",
        "aborted",
        "barrier",
        "blocked_seconds",
        "closed",
        "completed",
        "discard",
        "in_hand",
        "items",
        "limit",
        "lineage",
        "marked",
        "max_bytes",
        "max_items",
        "passed",
        "produced",
        "record_bytes",
        "taken",
        "total",
        "unbounded",
        "waiting",
    )

    def __init__(
        self,
        *,
        capacity: int = DEFAULT_CAPACITY,
        max_bytes: int = DEFAULT_BYTES,
        unbounded: bool = False,
        reader: Signal | None = None,
    ) -> None:
        self.items: list[Any] = []
        self.max_items = capacity
        self.limit = sys.maxsize if unbounded else capacity
        self.unbounded = unbounded
        self.max_bytes = max_bytes
        self.record_bytes = 0
        self.waiting = False
        self.closed = False
        self.aborted = False
        self.discard = False
        self.in_hand = 0
        self.total = 0
        self.taken = 0
        self.produced = 0
        self.completed = 0
        self.blocked_seconds = 0.0
        self.barrier: Barrier | None = None
        self.marked = 0
        self.passed = 0
        self.lineage = LapLog() if unbounded else LineageLog()
        self._reader = reader or Signal()
        self._writer = Signal()
        self._writer_waits = False
        self._on_ready: Callable[[], None] | None = None
        self._on_room: Callable[[], None] | None = None
        self._sampled = 0

    # ------------------------------------------------------------------ producer

    def put(self, item: Any) -> None:
        """Append one record; blocks while the channel is full."""
        self.items.append(item)
        if self.waiting:
            self.wake()
        if len(self.items) + self.in_hand >= self.limit:
            self.block()

    def put_counted(self, item: Any) -> None:
        """Like ``put`` for a channel inside of a loop; counts before it appends."""
        self.produced += 1
        self.put(item)

    def wake(self) -> None:
        """Wake the sleeping consumer."""
        self.waiting = False
        if self._on_ready is not None:
            self._on_ready()
        else:
            self._reader.fire()

    def block(self) -> None:
        """Wait until there is room. The producer calls it when ``limit`` is reached."""
        if self.aborted:
            raise ChannelAborted
        if self.discard:
            del self.items[:]
            return
        started = perf_counter()
        while len(self.items) + self.in_hand >= self.limit:
            self._writer_waits = True
            if len(self.items) + self.in_hand < self.limit or self.aborted or self.discard:
                self._writer_waits = False
                break
            if self.waiting:
                self.wake()
            self._writer.wait()
        self.blocked_seconds += perf_counter() - started
        if self.aborted:
            raise ChannelAborted
        if self.discard:
            del self.items[:]

    def offer(self, item: Any) -> None:
        """Append without ever blocking (producers on an event loop); see ``full``."""
        self.items.append(item)
        if self.waiting:
            self.wake()

    def offer_counted(self, item: Any) -> None:
        """Like ``offer`` for a channel inside of a loop."""
        self.produced += 1
        self.offer(item)

    def full(self, on_room: Callable[[], None]) -> bool:
        """Whether the channel is full; if so, ``on_room`` is called once there is room."""
        self._on_room = on_room
        if self.aborted or len(self.items) + self.in_hand < self.limit:
            return False
        if self.discard:
            del self.items[:]
            return False
        self._writer_waits = True
        if len(self.items) + self.in_hand < self.limit or self.aborted or self.discard:
            self._writer_waits = False
            return False
        return True

    def mark(self, barrier: Barrier) -> None:
        """Put a barrier behind the records that are there. By the producer; never blocks.

        Also on a channel that is closed, by whoever speaks for a producer that has ended.
        """
        self.marked += 1
        self.items.append(barrier)
        if self._on_ready is not None:
            self._on_ready()
        else:
            self._reader.fire()

    def close(self) -> None:
        """No more records will come."""
        self.closed = True
        if self._on_ready is not None:
            self._on_ready()
        else:
            self._reader.fire()

    # ------------------------------------------------------------------ consumer

    def take(self, most: int) -> list[Any]:
        """Up to ``most`` of the records that are there, possibly none. Frees what was in hand."""
        items = self.items
        batch = items[:most] if len(items) > most else items[:]
        if self.marked != self.passed:
            batch = self._before_barrier(batch)
        if batch:
            del items[: len(batch)]
            self.taken += len(batch)
            if self.taken >= self._sampled:
                self._sample(batch[0])
        self.in_hand = len(batch)
        if self._writer_waits and len(items) + len(batch) < self.limit:
            self._made_room()
        return batch

    def _before_barrier(self, batch: list[Any]) -> list[Any]:
        """What of ``batch`` comes before the next barrier; comes to it when that is nothing."""
        if self.barrier is not None:
            return []
        for at, item in enumerate(batch):
            if type(item) is Barrier:
                if at == 0:
                    self.barrier = item
                    del self.items[:1]
                return batch[:at]
        return batch

    def pass_on(self) -> None:
        """The consumer is done with the barrier it came to: what is behind it may be taken."""
        self.barrier = None
        self.passed += 1

    @property
    def shut(self) -> bool:
        """Whether the consumer has come to a barrier and not passed it."""
        return self.barrier is not None

    def finished(self, count: int) -> None:
        """``count`` of the records in hand are done (consumers that work item by item)."""
        self.in_hand -= count
        if self._writer_waits and len(self.items) + self.in_hand < self.limit:
            self._made_room()

    def _made_room(self) -> None:
        self._writer_waits = False
        if self._on_room is not None:
            self._on_room()
        else:
            self._writer.fire()

    @property
    def ended(self) -> bool:
        """Closed and empty: nothing will ever come."""
        return self.closed and not self.items and self.barrier is None

    def notify_with(self, on_ready: Callable[[], None]) -> None:
        """Call ``on_ready`` instead of firing the signal (event-loop consumers)."""
        self._on_ready = on_ready

    # ------------------------------------------------------------------ both

    def abort(self) -> None:
        """The job is canceled: both sides raise ``ChannelAborted`` when they would wait."""
        self.aborted = True
        self.limit = 0  # a producer in the middle of a long batch stops at its next record
        self._made_room()
        self._writer.fire()
        self.close()

    def drop(self) -> None:
        """The consumer failed: take no more and never block the producer."""
        self.discard = True
        del self.items[:]
        self.in_hand = 0
        self._made_room()
        self._writer.fire()

    def _sample(self, item: Any) -> None:
        """Estimate the size of records now and then and adapt ``limit`` to ``max_bytes``."""
        self._sampled = self.taken + max(64, self.taken // 8)
        self.record_bytes = size_of(item)
        if not self.unbounded and not self.aborted:
            fits = self.max_bytes // self.record_bytes
            self.limit = max(1, min(self.max_items, fits))


def size_of(value: Any, depth: int = 4) -> int:
    """Rough size of a value in bytes, following containers and slots to a small depth."""
    size = sys.getsizeof(value, 64)
    if depth == 0 or isinstance(value, (str, bytes, int, float, bool, type(None))):
        return size
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return max(size, nbytes)
    if isinstance(value, dict):
        values: Any = list(value.values())[:16]
        count = len(value)
    elif isinstance(value, (list, tuple, set, frozenset)):
        values = list(value)[:16] if isinstance(value, (set, frozenset)) else value[:16]
        count = len(value)
    else:
        slots = getattr(type(value), "__slots__", ())
        names = slots if isinstance(slots, (tuple, list)) else ()
        values = [getattr(value, name, None) for name in names if name != "__weakref__"]
        values += list(getattr(value, "__dict__", {}).values())
        count = len(values)
        values = values[:16]
    if values:
        size += sum(size_of(v, depth - 1) for v in values) * count // len(values)
    return size
