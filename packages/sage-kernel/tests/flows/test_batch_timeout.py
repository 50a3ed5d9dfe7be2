"""``timeout`` of a step with ``execute_batch`` limits one batch, in threads and on the loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from sage.api import LocalEnvironment, MapFunction

RELEASE = threading.Event()


class SyncBatch(MapFunction[int, int]):
    def execute_batch(self, items: list[int]) -> list[int]:
        if 3 in items:
            RELEASE.wait(30)
        return [item * 10 for item in items]


class AsyncBatch(MapFunction[int, int]):
    async def execute_batch(self, items: list[int]) -> list[int]:
        if 3 in items:
            await asyncio.Event().wait()
        return [item * 10 for item in items]


@pytest.mark.parametrize("step", [SyncBatch, AsyncBatch])
def test_a_late_batch_is_given_up(step: type[MapFunction[Any, Any]], tmp_path: Any) -> None:
    RELEASE.clear()
    out: list[int] = []
    env = LocalEnvironment("late", config={"dead_letter_dir": tmp_path})
    stream = env.from_collection(range(6))
    stream.map(step, batch_size=1, timeout=0.2, on_error="dead_letter").sink(out.append)
    job = env.submit()
    try:
        job.wait(30)
    finally:
        RELEASE.set()
    assert out == [0, 10, 20, 40, 50]
    (letter,) = job.dead_letters()
    assert letter["item"] == 3
    assert letter["error"]["type"].endswith("StepTimeoutError")


def test_a_cancel_stops_a_fused_chain_before_the_next_item() -> None:
    """The chunk of a chain that was fast may be long; the cancel does not wait for its end."""
    seen: list[int] = []
    reached, go_on = threading.Event(), threading.Event()

    def sink(item: int) -> None:
        seen.append(item)
        if item == 500_000:
            reached.set()
            go_on.wait(30)

    env = LocalEnvironment("chain")
    env.from_source(range(10_000_000)).map(lambda x: x).sink(sink)
    job = env.submit()
    assert reached.wait(60)
    job.cancel(wait=False)
    go_on.set()
    assert job.cancel(timeout=30)
    assert job.status == "CANCELED"
    assert seen[-1] == 500_000
