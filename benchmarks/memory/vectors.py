"""Vector collections against the bare index and chromadb, in one run.

    python benchmarks/memory/vectors.py                   # 100,000 rows of 384 floats
    python benchmarks/memory/vectors.py --rows 10000 --chroma 0
    python benchmarks/memory/vectors.py --chroma 5000     # rows for chromadb; 0 leaves it out

Prints milliseconds (median), recall@10 against exact NumPy, and ratios. chromadb's figures are of
its own number of rows; ratios are given only when that equals ``--rows``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.services.memory.vdb.dense import best
from sage.middleware.services.memory.vdb.engine_registry import engine_class
from sage.middleware.services.memory.vdb.engines import default_engine

DIM, K, BATCH = 384, 10, 5000
WHERE = {
    "0.2 %": {"category": "c2", "year": {"$gt": 2023}},
    "5 %": {"category": "c1", "year": {"$gt": 1995}},
    "50 %": {"category": "c0", "year": {"$gt": 1995}},
}


class Data:
    """Clustered unit vectors with text and metadata, and the exact answers."""

    def __init__(self, rows: int, queries: int) -> None:
        rng = np.random.default_rng(7)
        centres = rng.standard_normal((1000, DIM)).astype(np.float32)
        basis = rng.standard_normal((20, DIM)).astype(np.float32) / np.sqrt(20)
        total = rows + queries
        weights = 1 / np.arange(1, 1001) ** 0.6
        labels = rng.choice(1000, total, p=weights / weights.sum())
        out = np.empty((total, DIM), np.float32)
        for start in range(0, total, 20_000):
            part = slice(start, min(total, start + 20_000))
            size = part.stop - part.start
            out[part] = 0.9 * centres[labels[part]]
            out[part] += 1.3 * rng.standard_normal((size, 20)).astype(np.float32) @ basis
            out[part] += 0.35 * rng.standard_normal((size, DIM)).astype(np.float32)
            out[part] /= np.linalg.norm(out[part], axis=1, keepdims=True)
        self.vectors, self.queries = out[:rows], out[rows:]
        share = np.array([0.52, 0.052, 0.06, *[0.368 / 17] * 17])
        self.category = rng.choice(20, rows, p=share / share.sum())
        self.year = rng.integers(1995, 2025, rows)
        self.texts = [f"text of row {i} " + "some words of a passage " * 7 for i in range(rows)]
        self.metadatas = [
            {"category": f"c{c}", "year": y, "tag": f"t{i % 500}", "row": i}
            for i, (c, y) in enumerate(zip(self.category.tolist(), self.year.tolist(), strict=True))
        ]

    def mask(self, name: str | None) -> Any:
        """Rows that pass a filter."""
        if name is None:
            return np.ones(len(self.vectors), np.bool_)
        category, after = {"0.2 %": (2, 2023), "5 %": (1, 1995), "50 %": (0, 1995)}[name]
        return (self.category == category) & (self.year > after)

    def truth(self, name: str | None, count: int) -> list[set[int]]:
        """The exact ten best rows of the first ``count`` queries."""
        rows = np.flatnonzero(self.mask(name))
        points = self.vectors[rows] @ self.queries[:count].T
        return [set(rows[np.argsort(-points[:, i])[:K]].tolist()) for i in range(count)]


def median_ms(call: Callable[[Any], Any], arguments: Sequence[Any]) -> tuple[float, list[Any]]:
    """Median milliseconds of a call, and the answers."""
    call(arguments[0])
    times, answers = [], []
    for argument in arguments:
        start = time.perf_counter()
        answers.append(call(argument))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times)), answers


def recall(answers: Sequence[Sequence[int]], truth: Sequence[set[int]]) -> float:
    """Mean share of the true rows that were found."""
    shares = [len(set(a) & t) / max(1, len(t)) for a, t in zip(answers, truth, strict=True)]
    return float(np.mean(shares))


def bare_index(data: Data, queries: int) -> float:
    """Milliseconds of the scan engine with exact re-scoring of its candidates."""
    slots = np.random.default_rng(0).choice(len(data.vectors), min(1024, len(data.vectors)), False)
    engine = engine_class(default_engine())(DIM, data.vectors[slots])
    start = time.perf_counter()
    engine.add(data.vectors)
    built = time.perf_counter() - start

    def ask(query: Any) -> Any:
        found = engine.candidates(query, K * engine.oversample, None)
        return best(found, data.vectors[found] @ query, K)[0].tolist()

    ms, answers = median_ms(ask, data.queries[:queries])
    print(
        f"bare {engine.name}: build {built:.2f} s, top-10 {ms:.3f} ms, "
        f"recall {recall(answers, data.truth(None, queries)):.4f}"
    )
    return ms


def collection(data: Data, folder: Path, queries: int, **options: Any) -> dict[str, float]:
    """One of our collections, built in or on chromadb."""
    out: dict[str, float] = {}
    label = options.get("backend", "sage")
    rows = len(data.vectors)
    manager = MemoryManager(folder / label)
    made = manager.create_collection("rows", dim=DIM, **options)
    start, cpu = time.perf_counter(), time.process_time()
    for first in range(0, rows, BATCH):
        part = slice(first, first + BATCH)
        made.insert_many(data.texts[part], data.metadatas[part], vectors=data.vectors[part])
    made.retrieve(query_vector=data.queries[0], topk=K)
    out["ingest s"] = time.perf_counter() - start
    out["ingest cpu s"] = time.process_time() - cpu
    start = time.perf_counter()
    manager.close()
    out["close s"] = time.perf_counter() - start
    start = time.perf_counter()
    manager = MemoryManager(folder / label)
    made = manager.connect_collection("rows")
    made.retrieve(query_vector=data.queries[0], topk=K)
    out["reopen s"] = time.perf_counter() - start
    for name, where in {"all": None, **WHERE}.items():

        def ask(query: Any, where: Any = where) -> list[int]:
            hits = made.retrieve(query_vector=query, topk=K, where=where)
            return [h["metadata"]["row"] for h in hits]

        ms, answers = median_ms(ask, data.queries[:queries])
        key = None if name == "all" else name
        out[f"{name} ms"] = ms
        out[f"{name} recall"] = recall(answers, data.truth(key, queries))
    single = manager.create_collection("single", dim=DIM, **options)

    def insert(i: int) -> str:
        return str(single.insert(data.texts[i], data.metadatas[i], vector=data.vectors[i]))

    out["insert one ms"], _ = median_ms(insert, range(min(rows, 1000 if label == "sage" else 100)))
    manager.close()
    print(label, f"({rows} rows):", ", ".join(f"{k} {v:.4g}" for k, v in out.items()), flush=True)
    return out


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--chroma", type=int, default=None, help="rows; default as --rows")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sage-bench-"))
    try:
        data = Data(given.rows, given.queries)
        bare = bare_index(data, given.queries)
        ours = collection(data, folder, given.queries)
        print(f"retrieve / bare index with re-score: {ours['all ms'] / bare:.3f}")
        rows = given.rows if given.chroma is None else given.chroma
        if rows:
            other = Data(rows, given.queries) if rows != given.rows else data
            theirs = collection(other, folder, min(given.queries, 50), backend="chroma")
            if rows == given.rows:
                keys = ("ingest s", "insert one ms", "all ms", *(f"{w} ms" for w in WHERE))
                ratios = ", ".join(f"{k} {theirs[k] / ours[k]:.1f}" for k in (*keys, "reopen s"))
                print(f"chromadb / sage: {ratios}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
