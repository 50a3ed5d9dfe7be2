"""Snapshots, torn files, forgetting, retention, compaction."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage.middleware.services.memory.errors import (
    CollectionDamagedError,
    CollectionLockedError,
    DuplicateIdError,
    EmbeddingMismatchError,
    InvalidInputError,
)
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.services.memory.vdb.embedder import Embedder
from sage.middleware.testing.memory_backend import DIM, KeywordModel
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model

SECRET = "Xylophone-7731"


def fill(manager: MemoryManager, vectors: np.ndarray, count: int = 10_000) -> Any:
    rows = manager.create_collection("rows", dim=vectors.shape[1])
    rows.insert_many(
        [f"word{i}" for i in range(count)],
        [{"i": i, "m": i % 10} for i in range(count)],
        [str(i) for i in range(count)],
        vectors=vectors[:count],
    )
    return rows


def answers(rows: Any, vectors: np.ndarray) -> list[Any]:
    out: list[Any] = [rows.count({"m": 3}), len(rows)]
    for i in range(0, 9000, 900):
        out.append([h["id"] for h in rows.retrieve(query_vector=vectors[i], topk=5)])
        hits = rows.retrieve(query_vector=vectors[i], topk=5, where={"m": 3})
        out.append([h["id"] for h in hits])
    out.append([h["id"] for h in rows.retrieve("word77", mode="bm25")])
    return out


def damage_nothing(folder: Path) -> None:
    pass


def damage_engine(folder: Path) -> None:
    file = next(folder.glob("snapshots/*/engine.bin"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))


def damage_columns(folder: Path) -> None:
    next(folder.glob("snapshots/*/c0.npy")).write_bytes(b"short")


def damage_manifest(folder: Path) -> None:
    next(folder.glob("snapshots/*/manifest.json")).write_bytes(b"{}")


def damage_words(folder: Path) -> None:
    for file in folder.glob("snapshots/*/text-0/*"):
        file.write_bytes(b"x")


def remove_snapshots(folder: Path) -> None:
    for file in folder.glob("snapshots/CURRENT"):
        file.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing,
        damage_engine,
        damage_columns,
        damage_manifest,
        damage_words,
        remove_snapshots,
    ],
)
def test_reopening_gives_the_same_answers(
    manager: MemoryManager, clustered: np.ndarray, damage: Any
) -> None:
    rows = fill(manager, clustered)
    answers(rows, clustered)
    rows.delete([str(i) for i in range(0, 500, 7)])
    rows.store()
    # Rows since the snapshot have to be read from the database.
    rows.update("78", "word77 again", {"i": 78, "m": 3}, vector=clustered[78])
    rows.insert("late", {"m": 3}, "late", vector=clustered[19_000])
    rows.delete("1000")
    expected = answers(rows, clustered)
    manager.close()
    folder = Path(manager.data_dir) / "rows"
    assert list(folder.glob("snapshots/*/engine.bin"))
    damage(folder)
    with MemoryManager(manager.data_dir) as again:
        assert answers(again.connect_collection("rows"), clustered) == expected


def test_a_torn_vector_tail_is_cut(manager: MemoryManager, clustered: np.ndarray) -> None:
    rows = fill(manager, clustered, 100)
    manager.close()
    file = next((Path(manager.data_dir) / "rows").glob("vectors-*.f32"))
    assert file.stat().st_size == 100 * 64 * 4
    with file.open("ab") as stream:
        stream.write(b"\1" * 1001)
    with MemoryManager(manager.data_dir) as again:
        rows = again.connect_collection("rows")
        assert file.stat().st_size == 100 * 64 * 4
        rows.insert("new", None, "new", vector=clustered[500])
        assert rows.retrieve(query_vector=clustered[500], topk=1)[0]["id"] == "new"
        assert rows.check() == []


def test_lost_vectors_are_reported_and_repaired(manager: MemoryManager) -> None:
    model = KeywordModel("one")
    rows = manager.create_collection("rows", embedding_model=model)
    rows.insert_many([f"word{i} in row" for i in range(50)], None, [str(i) for i in range(50)])
    expected = [h["id"] for h in rows.retrieve("word17 in row", topk=5)]
    manager.close()
    file = next((Path(manager.data_dir) / "rows").glob("vectors-*.f32"))
    os.truncate(file, 20 * DIM * 4 + 7)
    with MemoryManager(manager.data_dir) as again:
        with pytest.raises(CollectionDamagedError, match="repair=True") as caught:
            again.connect_collection("rows", embedding_model=model)
        assert (caught.value.found, caught.value.expected) == (20, 50)
        rows = again.connect_collection("rows", embedding_model=model, repair=True)
        assert rows.check() == []
        assert {h["id"] for h in rows.retrieve("word17 in row", topk=5)} == set(expected)
        assert len(rows) == 50


def occurrences(folder: Path, needles: list[bytes]) -> list[str]:
    return [
        str(file)
        for file in folder.rglob("*")
        if file.is_file() and any(n in file.read_bytes() for n in needles)
    ]


def test_forget_leaves_nothing(manager: MemoryManager, clustered: np.ndarray) -> None:
    rows = fill(manager, clustered)
    rows.create_index("words", kind="bm25")
    rows.create_index("callable", metadata_filter_func=lambda m: "who" in m)
    vector = np.linspace(1, 2, 64).astype(np.float32)
    secret_id = rows.insert(
        f"the code is {SECRET.lower()}", {"who": SECRET, "i": -1}, vector=vector
    )
    rows.insert("deleted long ago", {"who": SECRET}, "old", vector=vector)
    rows.delete("old")
    rows.update(secret_id, f"now it is {SECRET.lower()}", vector=vector)
    rows.retrieve("xylophone", index_name="words")
    rows.store()
    folder = Path(manager.data_dir)
    stored = rows.get(secret_id, with_vectors=True)["vector"].tobytes()
    needles = [SECRET.encode(), SECRET.lower().encode(), b"xylophon", secret_id.encode(), stored]
    assert len(occurrences(folder, needles)) >= 3
    expected = answers(rows, clustered)
    assert rows.forget({"who": SECRET}) == 1
    assert occurrences(folder, needles) == []
    assert rows.get(secret_id) is None
    assert rows.retrieve("xylophone", index_name="words") == []
    expected[1] -= 1
    assert answers(rows, clustered) == expected
    manager.close()
    assert occurrences(folder, needles) == []
    with MemoryManager(folder) as again:
        assert answers(again.connect_collection("rows"), clustered) == expected
    assert occurrences(folder, needles) == []


def test_forget_says_when_a_reader_keeps_the_old_pages(
    manager: MemoryManager, clustered: np.ndarray
) -> None:
    rows = manager.create_collection("rows", dim=64, busy_timeout=0.1)
    texts = [SECRET if i == 5 else f"t{i}" for i in range(3000)]
    rows.insert_many(texts, None, [str(i) for i in range(3000)], vectors=clustered[:3000])
    scan = rows.scan()
    next(scan)
    with pytest.raises(CollectionLockedError, match="forget or optimize again"):
        rows.forget(ids="5")
    assert rows.get("5") is None
    scan.close()
    assert rows.forget(ids="5") == 0
    assert occurrences(Path(manager.data_dir), [SECRET.encode()]) == []


def test_an_interrupted_forget_is_completed_at_open(
    manager: MemoryManager, clustered: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = fill(manager, clustered, 2000)
    rows.insert(SECRET, None, "s", vector=clustered[0])

    def crash(self: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(rows), "_scrub", crash)
        with pytest.raises(KeyboardInterrupt):
            rows.forget(ids="s")
    folder = Path(manager.data_dir)
    with MemoryManager(folder) as again:
        assert len(again.connect_collection("rows")) == 2000
        assert occurrences(folder, [SECRET.encode()]) == []


def test_retention_by_number_and_age(
    manager: MemoryManager, clustered: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = manager.create_collection("rows", dim=64)
    rows.insert_many(["t"] * 10, None, [str(i) for i in range(10)], vectors=clustered[:10])
    rows.update("0", metadata={"fresh": True})
    rows.set_retention(max_rows=5)
    assert {r["id"] for r in rows.scan()} == {"6", "7", "8", "9", "0"}
    rows.insert_many(["t"] * 3, None, ["a", "b", "c"], vectors=clustered[:3])
    assert {r["id"] for r in rows.scan()} == {"9", "0", "a", "b", "c"}
    rows.insert_many(["t"] * 7, None, [f"m{i}" for i in range(7)], vectors=clustered[:7])
    assert {r["id"] for r in rows.scan()} == {f"m{i}" for i in range(2, 7)}
    assert rows.retention == {"max_rows": 5, "max_age": None}

    rows.set_retention(max_age=60)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 59)
    rows.insert("t", None, "new", vector=clustered[0])
    assert len(rows) == 6
    monkeypatch.setattr(time, "time", lambda: now + 61)
    rows.insert("t", None, "newer", vector=clustered[0])
    assert {r["id"] for r in rows.scan()} == {"new", "newer"}
    monkeypatch.setattr(time, "time", lambda: now + 1000)
    assert rows.apply_retention(forget=True) == 2
    assert len(rows) == 0
    assert rows.check() == []


def test_optimize_gives_back_the_space(manager: MemoryManager, clustered: np.ndarray) -> None:
    rows = fill(manager, clustered)
    expected = answers(rows, clustered)
    more = [f"x{i}" for i in range(9000)]
    rows.insert_many(["x" * 300] * 9000, None, more, vectors=clustered[:9000])
    rows.delete(more)
    report = rows.optimize()
    assert report["removed"] == 9000
    assert report["bytes"] > 9000 * (64 * 4 + 300)
    assert answers(rows, clustered) == expected
    assert rows.info()["deleted_slots"] == 0


def test_the_first_model_that_embeds_is_the_collections(tmp_path):
    with MemoryManager(tmp_path) as manager:
        rows = manager.create_collection("rows", dim=DIM)
        rows.insert("ready", id="r", vector=np.eye(DIM)[0])
        rows.use_model(KeywordModel("keywords"))
        rows.retrieve("ready")
        assert rows.embedding_fingerprint is None
        with pytest.raises(DuplicateIdError):
            rows.insert("again", id="r")
        assert rows.embedding_fingerprint is None
        rows.insert("embedded")
        assert rows.embedding_fingerprint == Embedder(KeywordModel("keywords")).fingerprint
    with (
        MemoryManager(tmp_path) as manager,
        pytest.raises(EmbeddingMismatchError),
    ):
        manager.connect_collection("rows", embedding_model=apply_embedding_model("mock", dim=DIM))


def test_two_handles_cannot_settle_two_models(tmp_path):
    with MemoryManager(tmp_path) as one, MemoryManager(tmp_path) as other:
        first = one.create_collection("rows", dim=DIM)
        second = other.connect_collection("rows")
        first.use_model(KeywordModel("keywords"))
        second.use_model(apply_embedding_model("mock", dim=DIM))
        first.insert("of the first")
        with pytest.raises(EmbeddingMismatchError):
            second.insert("of the second")
        assert len(second) == 1


def test_an_index_filter_that_raises_is_named_and_nothing_is_written(tmp_path):
    with MemoryManager(tmp_path) as manager:
        rows = manager.create_collection("rows", embedding_model=KeywordModel("keywords"))
        rows.insert("one", {"year": 1})
        with pytest.raises(InvalidInputError, match=r"'bad'.*KeyError"):
            rows.create_index("bad", metadata_filter_func=lambda m: m["month"] == 1)
        assert rows.list_indexes() == []
        rows.create_index("years", metadata_filter_func=lambda m: m["year"] == 1)
        with pytest.raises(InvalidInputError, match=r"'years'.*KeyError"):
            rows.insert("two")
        assert len(rows) == 1
