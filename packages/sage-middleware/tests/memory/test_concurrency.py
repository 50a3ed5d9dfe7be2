"""Other handles, threads and processes on one collection; kill -9."""

from __future__ import annotations

import multiprocessing
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage.middleware.services.memory.errors import CollectionClosedError, CollectionNotFoundError
from sage.middleware.services.memory.memory_collection.vdb_collection import VDBMemoryCollection
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.testing.memory_crash import Model, kill_round, make_collection


def test_another_handle_sees_every_commit(manager: MemoryManager, clustered: np.ndarray) -> None:
    mine = manager.create_collection("rows", dim=64)
    with MemoryManager(manager.data_dir) as other:
        theirs = other.connect_collection("rows")
        assert len(theirs) == 0
        for i in range(30):
            writer, reader = (mine, theirs) if i % 2 else (theirs, mine)
            writer.insert(f"t{i}", {"i": i}, str(i), vector=clustered[i])
            assert reader.retrieve(query_vector=clustered[i], topk=1)[0]["id"] == str(i)
            assert reader.count({"i": i}) == 1
        mine.delete(["3", "4"])
        assert len(theirs) == 28
        mine.optimize()
        assert theirs.retrieve(query_vector=clustered[9], topk=1)[0]["id"] == "9"
        theirs.update("9", metadata={"i": 1000})
        assert mine.count({"i": 1000}) == 1
        theirs.create_index("late", where={"i": 1000})
        assert mine.count(index_name="late") == 1


def test_a_cleared_collection_is_noticed(manager: MemoryManager, clustered: np.ndarray) -> None:
    rows = manager.create_collection("rows", dim=64)
    rows.insert("t", vector=clustered[0])
    VDBMemoryCollection.clear("rows", manager.data_dir)
    with pytest.raises(CollectionClosedError, match="deleted"):
        rows.insert("t", vector=clustered[0])
    with pytest.raises(CollectionNotFoundError, match="rows"):
        VDBMemoryCollection.clear("rows", manager.data_dir)
    assert len(manager.create_collection("rows", dim=64)) == 0


def write_batches(data_dir: str, name: str, count: int) -> None:
    with MemoryManager(data_dir) as manager:
        rows = manager.connect_collection("rows", busy_timeout=60)
        rng = np.random.default_rng(len(name))
        for i in range(count):
            ids = [f"{name}-{i}-{k}" for k in range(10)]
            rows.insert_many(
                ids, [{"batch": f"{name}-{i}"}] * 10, ids, vectors=rng.standard_normal((10, 64))
            )
            if i % 5 == 4:
                rows.delete([f"{name}-{i - 1}-{k}" for k in range(10)])


def test_several_processes_write_while_others_read(manager: MemoryManager) -> None:
    rows = manager.create_collection("rows", dim=64)
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=write_batches, args=(manager.data_dir, name, 25))
        for name in ("first", "second")
    ]
    for writer in writers:
        writer.start()
    rng = np.random.default_rng(0)
    while any(w.is_alive() for w in writers):
        assert len(rows) % 10 == 0  # a batch is there or not
        for hit in rows.retrieve(query_vector=rng.standard_normal(64), topk=5):
            assert hit["text"] == hit["id"]
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(rows) == 2 * (25 - 5) * 10
    assert rows.check() == []


def test_threads_read_while_one_writes_deletes_and_compacts(
    manager: MemoryManager, clustered: np.ndarray
) -> None:
    rows = manager.create_collection("rows", dim=64)
    rows.insert_many(
        [str(i) for i in range(9000)],
        [{"keep": i % 2 == 0} for i in range(9000)],
        [str(i) for i in range(9000)],
        vectors=clustered[:9000],
    )
    stop = threading.Event()
    faults: list[str] = []

    def read(seed: int) -> None:
        rng = random.Random(seed)
        try:
            while not stop.is_set():
                i = rng.randrange(0, 9000, 2)
                where = {"keep": True} if rng.random() < 0.5 else None
                hits = rows.retrieve(query_vector=clustered[i], topk=3, where=where)
                if hits[0]["id"] != str(i) or any(h["id"] != h["text"] for h in hits):
                    faults.append(f"{i}: {hits}")
        except Exception as exc:
            faults.append(repr(exc))

    threads = [threading.Thread(target=read, args=(s,)) for s in range(3)]
    for thread in threads:
        thread.start()
    for i in range(1, 1200, 2):
        rows.delete(str(i))
        rows.insert(f"n{i}", {"keep": False}, f"n{i}", vector=-clustered[i])
        if i % 400 == 1:
            rows.optimize()
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(rows) == 9000


@pytest.mark.parametrize("durability", ["process", "power"])
def test_kill_9_loses_nothing_and_halves_nothing(tmp_path: Path, durability: str) -> None:
    make_collection(tmp_path, durability=durability)
    model, rng = Model(11), random.Random(5)
    rounds = [kill_round(tmp_path, 11, model, rng) for _ in range(10)]
    assert [r.faults for r in rounds] == [[]] * 10
    assert model.done > 50


def reader(data_dir: str, ready: Any, seen: Any) -> None:
    with MemoryManager(data_dir) as manager:
        rows = manager.connect_collection("rows")
        ready.set()
        while len(rows) < 200:
            pass
        seen.value = rows.count({"n": {"$gte": 100}})


def test_a_reading_process_catches_up(manager: MemoryManager, clustered: np.ndarray) -> None:
    rows = manager.create_collection("rows", dim=64)
    context = multiprocessing.get_context("spawn")
    ready, seen = context.Event(), context.Value("i", -1)
    process = context.Process(target=reader, args=(manager.data_dir, ready, seen))
    process.start()
    try:
        assert ready.wait(60)
        for i in range(200):
            rows.insert("t", {"n": i}, vector=clustered[i])
    finally:
        process.join(60)
    assert process.exitcode == 0
    assert seen.value == 100
