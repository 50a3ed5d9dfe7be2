"""W4: three model calls in a row for each of 2,000 items, 128 in flight, results in order.

    python -m benchmarks.engine.model_calls [--rounds 5] [--items 2000] [--json PATH]

The baseline is what one would write by hand: 128 workers over one iterator, one aiohttp session,
orjson, uvloop. The pipeline makes the very same call in three asynchronous steps. Each round runs
both, in turn, against a server of their own that answers after 50 ms. A second pair replaces the
HTTP call by a timer of 50 ms, which shows what the engine adds without the noise of sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import orjson
from benchmarks.harness.meters import Meter, ratios
from benchmarks.harness.model_server import ModelServerProcess
from benchmarks.harness.rows import Row, run_as_script

from sage.api import LocalEnvironment, MapFunction

DELAY = 0.05
CALLS = 3
IN_FLIGHT = 128
HEADERS = {"content-type": "application/json"}


class Arrivals:
    """Takes the results; knows when the first came."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.began = time.perf_counter()
        self.first = 0.0

    def __call__(self, item: str) -> None:
        if not self.items:
            self.first = time.perf_counter() - self.began
        self.items.append(item)


class Caller(MapFunction[str, str]):
    """One chat completion over a session of its own."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url + "/chat/completions"

    def open(self, ctx: Any) -> None:
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT))

    async def execute(self, item: str) -> str:
        body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": item}]})
        async with self.session.post(self.url, data=body, headers=HEADERS) as reply:
            answer = orjson.loads(await reply.read())
        text: str = answer["choices"][0]["message"]["content"]
        return text

    async def close(self) -> None:  # type: ignore[override]
        await self.session.close()


class Timer(MapFunction[str, str]):
    """A call that only takes its time."""

    async def execute(self, item: str) -> str:
        await asyncio.sleep(DELAY)
        return item + "."

    async def close(self) -> None:  # type: ignore[override]
        return


def run_loop(coroutine: Any) -> None:
    try:
        import uvloop  # noqa: PLC0415 - optional, like in the engine

        uvloop.run(coroutine)
    except ImportError:
        asyncio.run(coroutine)


def by_hand(prompts: list[str], caller: Any, emit: Callable[[str], None]) -> None:
    async def pool() -> None:
        todo: Iterator[tuple[int, str]] = iter(enumerate(prompts))
        ready: dict[int, str] = {}
        due = 0
        call: Callable[[str], Awaitable[str]] = caller.execute

        async def worker() -> None:
            nonlocal due
            for number, text in todo:
                for _ in range(CALLS):
                    text = await call(text)  # noqa: PLW2901
                ready[number] = text
                while due in ready:
                    emit(ready.pop(due))
                    due += 1

        caller.open(None)
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(worker())
        await caller.close()

    run_loop(pool())


def pipeline(prompts: list[str], caller: Any, emit: Callable[[str], None]) -> None:
    env = LocalEnvironment("calls")
    stream = env.from_collection(prompts)
    for _ in range(CALLS):
        stream = stream.map(caller, concurrency=IN_FLIGHT)
    stream.sink(emit)
    env.submit().wait()


class Series:
    """The rounds of one contender."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.first: list[float] = []

    def run(self, contender: Any, prompts: list[str], caller: Any, *, keep: bool) -> None:
        arrivals = Arrivals()
        with Meter() as meter:
            arrivals.began = time.perf_counter()
            contender(prompts, caller, arrivals)
        wanted = [prompt + "." * CALLS for prompt in prompts]
        if arrivals.items != wanted:
            raise RuntimeError(f"{contender.__name__}: wrong results or wrong order")
        if keep:
            self.wall.append(meter.wall)
            self.cpu.append(meter.cpu)
            self.first.append(arrivals.first)


def compare(options: argparse.Namespace, make: Callable[[], Any]) -> tuple[Series, Series]:
    """Rounds of both, in turn and with the order swapped; one short round before."""
    prompts = [f"item {i} please answer briefly" for i in range(options.items)]
    base, ours = Series(), Series()
    for number in range(-1, options.rounds):
        given = prompts[: 2 * IN_FLIGHT] if number < 0 else prompts
        order = ((base, by_hand), (ours, pipeline))
        for series, contender in order if number % 2 else order[::-1]:
            series.run(contender, given, make(), keep=number >= 0)
    return base, ours


def measure(options: argparse.Namespace) -> list[Row]:
    calls = options.items * CALLS
    rows = []
    with ModelServerProcess(DELAY) as server:
        base, ours = compare(options, lambda: Caller(server.url))
        most = server.stats()["most_in_flight"]
    if most > IN_FLIGHT:
        raise RuntimeError(f"{most} calls in flight, {IN_FLIGHT} allowed")
    added = [(a - b) / calls * 1e3 for a, b in zip(ours.cpu, base.cpu, strict=True)]
    ideal = options.items * CALLS * DELAY / IN_FLIGHT
    note = (
        f"ideal {ideal:.2f} s; by hand {statistics.median(base.wall):.2f} s, CPU "
        f"{statistics.median(base.cpu) / calls * 1e3:.3f} ms per call; most in flight {most}"
    )
    rows.append(
        Row(
            "W4 calls over HTTP", "wall / by hand", ratios(ours.wall, base.wall), 1.05, 1.02
        )._replace(note=note)
    )
    rows.append(Row("W4 calls over HTTP", "CPU added per call, ms", added, 0.02))
    rows.append(Row("W4 calls over HTTP", "first result, s", ours.first, 0.35))
    rows.append(Row("W4 calls over HTTP", "first result by hand, s", base.first))
    base, ours = compare(options, Timer)
    added = [(a - b) / calls * 1e3 for a, b in zip(ours.cpu, base.cpu, strict=True)]
    rows.append(Row("W4 timers", "wall / by hand", ratios(ours.wall, base.wall), 1.05, 1.02))
    rows.append(Row("W4 timers", "CPU added per call, ms", added, 0.02))
    rows.append(Row("W4 timers", "first result, s", ours.first, 0.35))
    return rows


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--items", type=int, default=2000)


if __name__ == "__main__":
    run_as_script(__doc__, measure, arguments=arguments)
