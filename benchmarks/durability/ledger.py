"""What the ledger adds to a call, and what it keeps on disk.

    python -m benchmarks.durability.ledger [--calls 8000] [--rounds 5]

CPU: a step makes one ``ctx.call`` per item of a function that does next to nothing, with the ledger
and without (``ledger=False``, everything else the same). The difference of the CPU time of all
threads, the ledger's among them, over the number of calls; with ``process`` and ``power``
durability, for a request and response of some bytes and for a chat request of 2 KB with a reply of
1 KB, new ones in each call. Async: 64 in flight, which share transactions. Sync: one at a time,
each call waits for a transaction, and with ``power`` for the disk, of its own.

Disk: all files of the store (ledger, write-ahead log, checkpoints, facts of the run) over the bytes
of the texts. Agent: one item, 200 steps, each sends the whole conversation and adds 2 KB to it;
flat: 200 items with a reply of 2 KB each.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.meters import Meter
from benchmarks.harness.rows import Row, run_as_script

from sage.api import LocalEnvironment
from sage.api.functions import MapFunction

MUST_MS = 0.1
MUST_BYTES = 1.5
IN_FLIGHT = 64
STEPS = 200
SIZE = 2048


def text(seed: int, size: int) -> str:
    """Letters that are in no other text and do not compress to nothing."""
    return random.Random(seed).randbytes(size // 2).hex()


# ------------------------------------------------------------------ CPU


async def reply(item: Any) -> Any:
    return item


async def chat(messages: list[dict[str, str]]) -> dict[str, Any]:
    return chat_now(messages)


class Small(MapFunction[int, Any]):
    async def execute(self, item: int) -> Any:
        return await self.ctx.call(reply, item)


class Chat(MapFunction[str, Any]):
    async def execute(self, item: str) -> Any:
        return await self.ctx.call(chat, [{"role": "user", "content": item}])


def reply_now(item: Any) -> Any:
    return item


def chat_now(messages: list[dict[str, str]]) -> dict[str, Any]:
    content = messages[-1]["content"]
    return {"role": "assistant", "content": content[: SIZE // 2], "usage": [len(content), 300]}


class SmallSync(MapFunction[int, Any]):
    def execute(self, item: int) -> Any:
        return self.ctx.call(reply_now, item)


class ChatSync(MapFunction[str, Any]):
    def execute(self, item: str) -> Any:
        return self.ctx.call(chat_now, [{"role": "user", "content": item}])


class Work(NamedTuple):
    """A step that makes one call per item, its options, and how its items are made."""

    step: type[MapFunction[Any, Any]]
    options: dict[str, Any]
    item: Callable[[int], Any]


def chat_item(number: int) -> str:
    return text(number, SIZE)


WORKS = {
    "small call": Work(Small, {"concurrency": IN_FLIGHT}, int),
    "2 KB call": Work(Chat, {"concurrency": IN_FLIGHT}, chat_item),
    "sync small call": Work(SmallSync, {}, int),
    "sync 2 KB call": Work(ChatSync, {}, chat_item),
}


def run(work: Work, items: list[Any], durability: str, *, ledger: bool) -> Meter:
    """One run in a store of its own; checks that the calls were recorded, or were not."""
    with tempfile.TemporaryDirectory() as store:
        env = LocalEnvironment("bench")
        env.enable_checkpoints(None, store=store, durability=durability, ledger=ledger)
        done = [0]

        def count(_: Any) -> None:
            done[0] += 1

        env.from_collection(items).map(work.step, **work.options).sink(count)
        with Meter() as meter:
            job = env.submit()
            job.wait()
        recorded = job.cost().total.calls if ledger else 0
    if done[0] != len(items) or recorded != ledger * len(items):
        raise RuntimeError(f"{done[0]} items, {recorded} calls recorded, expected {len(items)}")
    return meter


def cpu_rows(options: argparse.Namespace) -> list[Row]:
    rows = []
    for name, work in WORKS.items():
        items = [work.item(n) for n in range(options.calls)]
        for durability in ("process", "power"):
            meters: dict[bool, list[Meter]] = {True: [], False: []}
            for at in range(-1, options.rounds):
                for ledger in (True, False) if at % 2 else (False, True):
                    meter = run(work, items, durability, ledger=ledger)
                    if at >= 0:
                        meters[ledger].append(meter)
            added = [
                (ours.cpu - base.cpu) * 1000 / options.calls
                for ours, base in zip(meters[True], meters[False], strict=True)
            ]
            without = min(meter.cpu for meter in meters[False]) * 1000 / options.calls
            note = f"without the ledger {without:.3f} ms"
            rows.append(Row(f"{name}, {durability}", "CPU added, ms", added, MUST_MS, note=note))
    return rows


# ------------------------------------------------------------------ disk


async def model(messages: list[str]) -> str:
    return text(len(messages), SIZE)


class Agent(MapFunction[str, int]):
    """Sends all that was said so far, again and again."""

    async def execute(self, item: str) -> int:
        messages = [item]
        for _ in range(STEPS):
            messages.append(await self.ctx.call(model, list(messages)))
        return len(messages)


async def answer(number: int) -> str:
    return text(number, SIZE)


class Flat(MapFunction[int, int]):
    async def execute(self, item: int) -> int:
        return len(await self.ctx.call(answer, item))


def stored(step: type[MapFunction[Any, Any]], items: list[Any]) -> float:
    """Bytes of all files of the store over ``STEPS`` texts."""
    with tempfile.TemporaryDirectory() as store:
        env = LocalEnvironment("bench")
        env.enable_checkpoints(None, store=store)
        env.from_collection(items).map(step, concurrency=IN_FLIGHT).sink(lambda _: None)
        job = env.submit().wait()
        calls = job.cost().total.calls
        files = [path for path in Path(store).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    if calls != STEPS:
        raise RuntimeError(f"{calls} calls recorded, expected {STEPS}")
    return size / (STEPS * SIZE)


def disk_rows(options: argparse.Namespace) -> list[Row]:
    works: dict[str, tuple[type[MapFunction[Any, Any]], list[Any]]] = {
        "agent, 200 steps x 2 KB": (Agent, ["Begin."]),
        "flat, 200 items x 2 KB": (Flat, list(range(STEPS))),
    }
    return [
        Row(
            name,
            "stored bytes / payload",
            [stored(step, items) for _ in range(options.rounds)],
            MUST_BYTES,
        )
        for name, (step, items) in works.items()
    ]


def measure(options: argparse.Namespace) -> list[Row]:
    return [*cpu_rows(options), *disk_rows(options)]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=8000, help="calls per run (default 8,000)")


if __name__ == "__main__":
    run_as_script(__doc__, measure, arguments=arguments)
