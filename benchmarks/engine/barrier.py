"""No barriers: an item goes on as soon as its own step is done.

    python -m benchmarks.engine.barrier [--rounds 5] [--json PATH]

Fast branch: one item goes to a branch of 0.1 s and to one of 1.2 s; measured is when the step after
the fast branch starts. Engines that work in supersteps start it after 1.2 s (LangGraph: 1.21 s).
Fan-out: 20 items whose first step takes 50, 100, ... 1000 ms, in no order; measured is when the
second step starts first (LangGraph: 1.05 s). Both as coroutines and, the branches, as threads.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from benchmarks.harness.rows import Row, run_as_script

from sage.api import LocalEnvironment

FAST, SLOW = 0.1, 1.2
FAN = 20
STEP = 0.05


def branches(kind: str) -> float:
    """Seconds until the successor of the fast branch starts."""
    started: list[float] = []
    ended: list[float] = []

    def wait(seconds: float) -> Any:
        def sync(item: int) -> int:
            time.sleep(seconds)
            return item

        async def coroutine(item: int) -> int:
            await asyncio.sleep(seconds)
            return item

        return coroutine if kind == "async" else sync

    def successor(item: int) -> int:
        started.append(time.perf_counter())
        return item

    env = LocalEnvironment("branches")
    # Threads: each branch is a thread of its own, as users of fast and slow siblings set it up.
    options: dict[str, int] = {} if kind == "async" else {"parallelism": 2}
    source = env.from_collection([1])
    source.map(wait(SLOW), name="slow", **options).sink(lambda _: ended.append(time.perf_counter()))
    source.map(wait(FAST), name="fast", **options).map(successor).sink(lambda _: None)
    began = time.perf_counter()
    env.submit().wait()
    if len(started) != 1 or len(ended) != 1 or ended[0] - began < SLOW:
        raise RuntimeError("a branch did not run")
    return started[0] - began


def fan_out(kind: str) -> float:
    """Seconds until any of 20 items reaches the second step."""
    started: list[float] = []

    async def first(item: int) -> int:
        await asyncio.sleep(STEP * item)
        return item

    def first_sync(item: int) -> int:
        time.sleep(STEP * item)
        return item

    async def second(item: int) -> int:
        started.append(time.perf_counter())
        return item

    items = [1 + i * 7 % FAN for i in range(FAN)][::-1]
    env = LocalEnvironment("fan-out")
    stream = env.from_collection(items)
    if kind == "async":
        stream = stream.map(first, concurrency=FAN, ordered=False)
    else:
        stream = stream.map(first_sync, parallelism=FAN, ordered=False)
    stream.map(second, concurrency=FAN, ordered=False).sink(lambda _: None)
    began = time.perf_counter()
    env.submit().wait()
    if len(started) != FAN:
        raise RuntimeError(f"{len(started)} of {FAN} items reached the second step")
    return min(started) - began


def measure(options: argparse.Namespace) -> list[Row]:
    fan_out("async")  # imports asyncio once
    rows = []
    for kind in ("async", "threads"):
        times = [branches(kind) for _ in range(options.rounds)]
        work = f"barrier, fast branch, {kind}"
        rows.append(Row(work, "successor starts, s", times, 0.13))
    for kind in ("async", "threads"):
        times = [fan_out(kind) for _ in range(options.rounds)]
        work = f"barrier, fan-out of {FAN}, {kind}"
        rows.append(Row(work, "first second step, s", times, 0.08))
    return rows


if __name__ == "__main__":
    run_as_script(__doc__, measure)
