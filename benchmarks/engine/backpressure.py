"""W5: a source of 10,000,000 items before a sink that takes 1 ms per item.

    python -m benchmarks.engine.backpressure [--rounds 5] [--seen 500] [--json PATH]

Measured: items pulled ahead of the sink (beyond what channels may hold), growth of the peak
resident memory, how long ``cancel`` takes, and what is pulled after it. As one fused thread, with a
thread per step, and with an asynchronous sink.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.harness.meters import peak_mb, reset_peak, rss_mb
from benchmarks.harness.rows import Row, run_as_script

from sage.api import LocalEnvironment

ITEMS = 10_000_000
SECONDS = 0.001
CAPACITY = 256


class Source:
    """Counts what is pulled out of it."""

    def __init__(self) -> None:
        self.pulled = 0

    def __iter__(self) -> Iterator[int]:
        for i in range(ITEMS):
            self.pulled += 1
            yield i


class Sink:
    """Takes its time; sets ``enough`` after so many items."""

    def __init__(self, source: Source, seen: int) -> None:
        self.source = source
        self.quota = seen
        self.seen = 0
        self.ahead = 0
        self.enough = threading.Event()

    def note(self) -> None:
        self.ahead = max(self.ahead, self.source.pulled - self.seen)
        self.seen += 1
        if self.seen == self.quota:
            self.enough.set()

    def sync(self, item: int) -> None:
        time.sleep(SECONDS)
        self.note()

    async def coroutine(self, item: int) -> None:
        await asyncio.sleep(SECONDS)
        self.note()


def same(item: int) -> int:
    return item


VARIANTS: dict[str, tuple[dict[str, Any], str, int]] = {
    "fused": ({}, "sync", 0),
    "a thread per step": ({"fusion": False}, "sync", 2 * CAPACITY),
    "asynchronous sink": ({}, "async", CAPACITY),
}
"""Name -> configuration, kind of sink, records that its channels may hold."""


def run(variant: str, seen: int) -> tuple[float, float, float, float]:
    """Pulled ahead beyond the bound, MiB grown, milliseconds to cancel, pulled after."""
    config, kind, bound = VARIANTS[variant]
    source = Source()
    sink = Sink(source, seen)
    env = LocalEnvironment("backpressure", config={**config, "channel_capacity": CAPACITY})
    stream = env.from_source(source).map(same)
    if kind == "async":
        stream.sink(sink.coroutine, concurrency=1)
    else:
        stream.sink(sink.sync)
    before = rss_mb()
    reset_peak()
    job = env.submit()
    sink.enough.wait()
    grown = peak_mb() - before
    began = time.perf_counter()
    if not job.cancel(timeout=10):
        raise RuntimeError("the job did not end within 10 s")
    took = time.perf_counter() - began
    pulled = source.pulled
    time.sleep(0.1)  # long enough for 100,000 items, were any still pulled
    return sink.ahead - bound, max(0.0, grown), took * 1e3, source.pulled - pulled


def measure(options: argparse.Namespace) -> list[Row]:
    rows = []
    for variant in VARIANTS:
        run(variant, 50)  # threads' stacks, asyncio
        ahead, grown, took, after = zip(
            *(run(variant, options.seen) for _ in range(options.rounds)), strict=True
        )
        work = f"W5 {variant}"
        bound = VARIANTS[variant][2]
        note = f"bound {bound}" if bound else ""
        rows += [
            Row(work, "pulled ahead beyond the bound", ahead, 1, note=note),
            Row(work, "peak memory grown, MiB", grown, 2),
            Row(work, "cancel, ms", took, 10, 2),
            Row(work, "pulled after cancel", after, 0),
        ]
    return rows


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seen", type=int, default=500, help="items until the cancel")


if __name__ == "__main__":
    run_as_script(__doc__, measure, arguments=arguments)
