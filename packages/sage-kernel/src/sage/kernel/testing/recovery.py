"""Flows that are interrupted and go on: what each runtime must recover.

``FLOWS`` build a stream on an environment; a test puts a ``Gate`` and a ``Lines`` sink behind it,
takes a savepoint while the gate holds items back, and compares what a run from the savepoint adds
with what an uninterrupted run gives.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sage.api.functions import (
    FlatMapFunction,
    MapFunction,
    ProcessFunction,
    SinkFunction,
    SourceFunction,
)

ITEMS = 240
"""Items of the source of most flows."""

Flow = Callable[[Any], Any]


class Lines(SinkFunction[Any]):
    """Writes the repr of each item as a line; takes part in checkpoints by its length."""

    def __init__(
        self, path: Any, after: int | None = None, call: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self._path = Path(path)
        self._after, self._call, self._count = after, call, 0
        self._file: Any = None

    def open(self, ctx: Any) -> None:
        self._file = None if ctx.restored else self._path.open("w+")

    def execute(self, item: Any) -> Any:
        self._file.write(f"{item!r}\n")
        self._count += 1
        if self._count == self._after:
            assert self._call is not None
            self._call()

    def snapshot(self) -> Any:
        self._file.flush()
        return self._file.tell()

    def restore(self, length: int) -> None:
        self._file = self._path.open("r+")
        self._file.truncate(length)
        self._file.seek(length)

    def close(self) -> None:
        self._file.close()


class Gate:
    """An async step that holds six items until it is opened; the others pass, one by one.

    So there are always items in flight and the job cannot end, but nothing behind them is stuck.
    Run it unordered, with more than six calls in flight.

    Args:
        first: Items that pass before the first one is held.
    """

    def __init__(self, first: int) -> None:
        self._holds = {first + 5 * nth for nth in range(6)}
        self._count = 0
        self._opened = threading.Event()

    async def __call__(self, item: Any) -> Any:
        self._count += 1
        if self._count in self._holds:
            await asyncio.get_running_loop().run_in_executor(None, self._opened.wait)
        else:
            await asyncio.sleep(0.001)
        return item

    def open(self) -> None:
        """Let everything through."""
        self._opened.set()


class CountKey(MapFunction[Any, Any]):
    """Value and list state of a key."""

    def open(self, ctx: Any) -> None:
        self.seen = ctx.value_state("seen", 0)
        self.last = ctx.list_state("last")

    def execute(self, item: Any) -> Any:
        self.seen.value += 1
        self.last.append(item)
        return item, self.seen.value, len(self.last.get())


class CountAll(MapFunction[Any, Any]):
    """State of the subtask as a whole, in both forms."""

    def open(self, ctx: Any) -> None:
        self.total = ctx.operator_state("total", 0)
        self.calls = 0

    def execute(self, item: Any) -> Any:
        self.total.value += 1
        self.calls += 1
        return item, self.total.value, self.calls

    def snapshot(self) -> Any:
        return {"calls": self.calls}

    def restore(self, state: Any) -> None:
        self.calls = state["calls"]


class Pairs(MapFunction[Any, Any]):
    """Vectorised."""

    def execute_batch(self, items: list[Any]) -> list[Any]:
        return [(item, item * item) for item in items]


class Later(ProcessFunction[Any, Any]):
    """Keyed state and a timer that fires when the input ends."""

    def open(self, ctx: Any) -> None:
        self.sum = ctx.value_state("sum", 0)

    def process(self, item: Any) -> Iterator[Any]:
        self.sum.value += item
        self.ctx.register_timer(4e9)
        yield item, self.sum.value

    def on_timer(self, timestamp: float) -> Iterator[Any]:
        yield self.ctx.key, "total", self.sum.value


class Twice(FlatMapFunction[Any, Any]):
    """Two outputs per input."""

    def execute(self, item: Any) -> Any:
        return [item, -item]


def square(item: int) -> int:
    """``item * item``."""
    return item * item


def modulo(item: int) -> int:
    """One of seven keys."""
    return item % 7


def keyed_state(env: Any) -> Any:
    """Keyed state."""
    return env.from_collection(range(ITEMS)).key_by(modulo).map(CountKey, uid="count")


def keyed_state_parallel(env: Any, parallelism: int = 2) -> Any:
    """Keyed state in several subtasks."""
    stream = env.from_collection(range(ITEMS)).key_by(modulo)
    return stream.map(CountKey, uid="count", parallelism=parallelism)


class Seekable(SourceFunction[int]):
    """A source that knows where it is, but only once it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = 0
        self._skip = 0

    def seek(self, offset: int) -> None:
        """Start there."""
        self._skip = offset

    def run(self) -> Iterator[int]:
        """Count."""
        self.offset = self._skip
        while self.offset < ITEMS:
            self.offset += 1
            yield self.offset - 1


def seekable(env: Any) -> Any:
    """A source with an offset of its own."""
    return env.from_source(Seekable).map(square)


class Remembering(SourceFunction[int]):
    """A source that saves and restores where it is by itself."""

    def open(self, ctx: Any) -> None:
        self._next = 0

    def run(self) -> Iterator[int]:
        """Count."""
        while self._next < ITEMS:
            self._next += 1
            yield self._next - 1

    def snapshot(self) -> Any:
        return self._next

    def restore(self, state: Any) -> None:
        self._next = state


def remembering(env: Any) -> Any:
    """A source with state of its own."""
    return env.from_source(Remembering).map(square)


def operator_state(env: Any) -> Any:
    """State of a subtask as a whole."""
    return env.from_collection(range(ITEMS)).map(CountAll)


def running_sum(env: Any) -> Any:
    """A reduction per key."""
    stream = env.from_collection(range(ITEMS)).key_by(modulo)
    return stream.reduce(lambda total, item: total + item)


def tumbling(env: Any) -> Any:
    """Count windows per key."""
    return env.from_collection(range(ITEMS)).key_by(modulo).window(count=5)


def sliding(env: Any) -> Any:
    """Overlapping count windows."""
    return env.from_collection(range(ITEMS)).window(count=6, slide=2)


def batches(env: Any) -> Any:
    """Lists of seven."""
    return env.from_collection(range(ITEMS)).batch(7)


def timers(env: Any) -> Any:
    """A process step."""
    return env.from_collection(range(ITEMS)).key_by(modulo).process(Later)


def expansion(env: Any) -> Any:
    """Several outputs per item, some dropped."""
    return env.from_collection(range(ITEMS)).flatmap(Twice).filter(lambda item: item % 3 != 0)


def join_all(env: Any) -> Any:
    """A join in which every pair counts."""
    left = env.from_collection(range(ITEMS)).key_by(lambda item: item)
    right = env.from_collection(range(0, 2 * ITEMS, 2)).key_by(lambda item: item // 2)
    return left.connect(right).join()


def join_outer(env: Any) -> Any:
    """A left join in which each item has one partner at most."""
    left = env.from_collection(range(ITEMS)).key_by(lambda item: item)
    right = env.from_collection(range(0, ITEMS, 2)).key_by(lambda item: item)
    return left.connect(right).join(how="left", match="one")


def short_and_long(env: Any) -> Any:
    """One source ends long before the other."""
    return env.from_collection(range(3)).union(env.from_collection(range(10, ITEMS)))


def threads(env: Any) -> Any:
    """A step in three threads."""
    return env.from_collection(range(ITEMS)).map(square, parallelism=3)


def vectors(env: Any) -> Any:
    """A step with ``execute_batch``."""
    return env.from_collection(range(ITEMS)).map(Pairs, batch_size=5)


def processes(env: Any) -> Any:
    """A step in two processes."""
    return env.from_collection(range(ITEMS)).map(square, executor="process", parallelism=2)


def loop(env: Any) -> Any:
    """Each number goes round until it is at most 1."""
    back = env.from_future("back")
    halves = env.from_collection(range(1, ITEMS)).union(back).map(lambda n: n // 2)
    again, done = halves.split(lambda n: n > 1)
    env.fill_future(back, again)
    return done


def two_asynchronous(env: Any) -> Any:
    """Asynchronous steps, unordered and ordered."""

    async def add(item: int) -> int:
        await asyncio.sleep(0)
        return item + 1

    stream = env.from_collection(range(ITEMS)).map(add, concurrency=4, ordered=False)
    return stream.map(square).map(add, concurrency=8)


FLOWS: tuple[Flow, ...] = (
    keyed_state,
    keyed_state_parallel,
    operator_state,
    seekable,
    remembering,
    running_sum,
    tumbling,
    sliding,
    batches,
    timers,
    expansion,
    join_all,
    join_outer,
    short_and_long,
    threads,
    vectors,
    processes,
    loop,
    two_asynchronous,
)


def threads_with_state(env: Any, parallelism: int = 2) -> Any:
    """Each subtask has state of its own."""
    return env.from_collection(range(ITEMS)).map(CountAll, parallelism=parallelism, uid="all")
