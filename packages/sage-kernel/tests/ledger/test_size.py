"""What a store keeps of 200 calls of 2 KB each: all files, checkpoints and facts of the run too."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from sage.api import LocalEnvironment
from sage.api.functions import MapFunction
from sage.kernel.ledger.store import WAL_BYTES

STEPS = 200
SIZE = 2048
MOST = 1.5 * STEPS * SIZE


def text(number: int) -> str:
    return random.Random(number).randbytes(SIZE // 2).hex()


def sizes(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in store.rglob("*") if path.is_file()}


class Agent(MapFunction[int, int]):
    """Sends all that was said so far in each of its calls."""

    def execute(self, item: int) -> int:
        said = ["Begin."]
        for number in range(STEPS):
            said.append(self.ctx.call(lambda said: text(len(said)), list(said)))
            if number == STEPS - 1:
                RUNNING.update(sizes(Path(self.config["store"])))
        return len(said)


class Once(MapFunction[int, int]):
    """One call per item; the reply is what is large."""

    def execute(self, item: int) -> int:
        answer = self.ctx.call(text, item)
        RUNNING.update(sizes(Path(self.config["store"])))
        return len(answer)


RUNNING: dict[str, int] = {}


@pytest.mark.parametrize(
    ("step", "items"), [(Agent, 1), (Once, STEPS)], ids=["conversation", "items"]
)
def test_stored_bytes(step: type[MapFunction[Any, Any]], items: int, tmp_path: Path) -> None:
    RUNNING.clear()
    env = LocalEnvironment("size").enable_checkpoints(None, store=str(tmp_path))
    env.from_collection(range(items)).map(step, {"store": str(tmp_path)}).sink(lambda _: None)
    job = env.submit().wait()
    assert job.cost().total.calls == STEPS
    after = sizes(tmp_path)
    assert STEPS * SIZE <= sum(after.values()) <= MOST, after

    # While it runs there is the write-ahead log of the database beside; it is used over and over.
    log = RUNNING.pop("ledger.sqlite-wal")
    assert log <= 1.1 * WAL_BYTES
    del RUNNING["ledger.sqlite-shm"]
    assert STEPS * SIZE <= sum(RUNNING.values()) <= MOST, RUNNING
