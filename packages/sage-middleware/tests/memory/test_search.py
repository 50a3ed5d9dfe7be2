"""Search against exact NumPy: engines, filters, plans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.memory_manager import MemoryManager


@pytest.fixture(params=["turbovec", "numpy", "ivf"])
def large(request: Any, manager: MemoryManager, clustered: np.ndarray) -> Any:
    if request.param == "turbovec":
        pytest.importorskip("turbovec")
    rows = manager.create_collection("large", dim=64, engine=request.param)
    for start in range(0, len(clustered), 4000):
        part = range(start, start + 4000)
        rows.insert_many(
            [f"t{i}" for i in part],
            [{"i": i, "half": i % 2, "few": i % 100} for i in part],
            [str(i) for i in part],
            vectors=clustered[start : start + 4000],
        )
    return rows


def exact(vectors: np.ndarray, query: np.ndarray, slots: np.ndarray, topk: int) -> list[str]:
    order = np.argsort(-(vectors[slots] @ query), kind="stable")[:topk]
    return [str(i) for i in slots[order]]


@pytest.mark.parametrize(
    ("where", "step", "strategy"),
    [(None, 1, "scan"), ({"half": 0}, 2, "scan"), ({"few": 0}, 100, "gather")],
)
def test_recall_is_at_least_0_99(
    large: Any, clustered: np.ndarray, where: Any, step: int, strategy: str
) -> None:
    slots = np.arange(0, len(clustered), step)
    assert large.explain(where=where)["strategy"] == strategy
    found = 0
    rng = np.random.default_rng(2)
    for _ in range(100):
        query = clustered[rng.integers(len(clustered))] + 0.05 * rng.standard_normal(64)
        query = (query / np.linalg.norm(query)).astype(np.float32)
        hits = large.retrieve(query_vector=query, topk=10, where=where)
        assert len(hits) == 10
        found += len({h["id"] for h in hits} & set(exact(clustered, query, slots, 10)))
    assert found >= 990


def test_exact_strategy_and_explain(large: Any, clustered: np.ndarray) -> None:
    hits = large.retrieve(query_vector=clustered[3], topk=50, strategy="exact")
    expected = exact(clustered, clustered[3], np.arange(len(clustered)), 50)
    assert [h["id"] for h in hits] == expected
    with pytest.raises(InvalidInputError, match="strategy"):
        large.retrieve(query_vector=clustered[3], strategy="guess")


def test_new_updated_and_deleted_rows_are_seen_at_once(large: Any, clustered: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    assert large.retrieve(query_vector=clustered[0], topk=1)[0]["id"] == "0"
    for i in range(20):
        vector = rng.standard_normal(64)
        large.insert("new", {"i": -1}, f"new{i}", vector=vector)
        assert large.retrieve(query_vector=vector, topk=1)[0]["id"] == f"new{i}"
        large.update(f"new{i}", vector=-vector)
        assert large.retrieve(query_vector=-vector, topk=1)[0]["id"] == f"new{i}"
        large.delete(f"new{i}")
        assert large.retrieve(query_vector=-vector, topk=1)[0]["id"] != f"new{i}"
    removed = large.delete(where={"half": 0})
    assert removed == len(clustered) // 2
    hits = large.retrieve(query_vector=clustered[0], topk=200)
    assert len(hits) == 200
    assert all(h["metadata"]["half"] == 1 for h in hits)
    large.optimize()
    again = large.retrieve(query_vector=clustered[0], topk=10)
    assert [h["id"] for h in again] == [h["id"] for h in hits[:10]]


def test_many_results_and_all_results(large: Any, clustered: np.ndarray) -> None:
    assert len(large.retrieve(query_vector=clustered[1], topk=15_000)) == 15_000
    assert len(large.retrieve(query_vector=clustered[1], topk=10**6)) == len(clustered)
    assert len(large.retrieve(query_vector=clustered[1], topk=10**6, where={"few": 3})) == 200


def test_texts_without_vectors_are_searched_by_words(manager: MemoryManager) -> None:
    rows = manager.create_collection("texts")
    rows.insert_many(["the red fox", "a blue bird", "red birds"], [{"n": i} for i in range(3)])
    rows.create_index("words", kind="bm25", language="en")
    assert {h["metadata"]["n"] for h in rows.retrieve("red", index_name="words")} == {0, 2}
    assert rows.retrieve("birds", topk=1, where={"n": {"$lt": 2}})[0]["metadata"]["n"] == 1
    with pytest.raises(InvalidInputError, match="embedding model"):
        rows.retrieve("red", mode="dense")
    rows.delete(where={"n": 0})
    assert [h["metadata"]["n"] for h in rows.retrieve("fox red")] == [2]


def test_the_inverted_file_takes_over_by_size(
    manager: MemoryManager, clustered: np.ndarray
) -> None:
    rows = manager.create_collection("grown", dim=64, ivf_rows=15_000)
    ids = [str(i) for i in range(len(clustered))]
    texts = ["t"] * len(clustered)
    rows.insert_many(texts[:12_000], None, ids[:12_000], vectors=clustered[:12_000])
    rows.optimize_index()
    assert rows.explain()["engine"] != "ivf"
    rows.insert_many(texts[12_000:], None, ids[12_000:], vectors=clustered[12_000:])
    rows.delete("7")
    rows.optimize_index()
    assert rows.explain()["engine"] == "ivf"
    assert rows.retrieve(query_vector=clustered[19_999], topk=1)[0]["id"] == "19999"
    assert rows.retrieve(query_vector=clustered[7], topk=1)[0]["id"] != "7"
    manager.close()
    with MemoryManager(manager.data_dir) as again:
        rows = again.connect_collection("grown")
        assert rows.explain()["engine"] == "ivf"
        slots = np.array([i for i in range(len(clustered)) if i != 7])
        found = 0
        for i in range(0, 20_000, 200):
            hits = rows.retrieve(query_vector=clustered[i], topk=10)
            found += len({h["id"] for h in hits} & set(exact(clustered, clustered[i], slots, 10)))
        assert found >= 985
