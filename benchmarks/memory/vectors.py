"""Vector collections against the bare index and chromadb, in one run.

    python -m benchmarks.memory.vectors                     # 100,000 rows of 384 floats
    python -m benchmarks.memory.vectors --rows 10000
    python -m benchmarks.memory.vectors --without-chroma

Queries of a round ask the bare index and the collection in turn. Recall@10 is against exact NumPy.
chromadb is filled once and asked fewer queries, as its filtered ones take 0.1 to 0.4 s each.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from benchmarks.harness.meters import ratios
from benchmarks.harness.rows import Row, run_as_script

from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.services.memory.vdb.dense import best
from sage.middleware.services.memory.vdb.engine_registry import engine_class
from sage.middleware.services.memory.vdb.engines import default_engine

DIM, K, BATCH = 384, 10, 5000
FASTER = {None: (2, 3), "0.2 %": (200, 800), "5 %": (100, 300), "50 %": (100, 220)}
"""Filter → how many times faster than chromadb a query must be, and should be."""
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


class Bare:
    """The scan engine with exact re-scoring of its candidates, and nothing around it."""

    def __init__(self, data: Data) -> None:
        slots = np.random.default_rng(0).choice(
            len(data.vectors), min(1024, len(data.vectors)), replace=False
        )
        self._engine = engine_class(default_engine())(DIM, data.vectors[slots])
        self._engine.add(data.vectors)
        self._rows = data.vectors
        self.name = self._engine.name

    def ask(self, query: Any) -> list[int]:
        """The ten best rows."""
        found = self._engine.candidates(query, K * self._engine.oversample, None)
        best_rows: list[int] = best(found, self._rows[found] @ query, K)[0].tolist()
        return best_rows


class Store:
    """One of our collections, built in or on chromadb."""

    def __init__(self, data: Data, folder: Path, **options: Any) -> None:
        self._data, self._folder, self._options = data, folder, options
        self._manager = MemoryManager(folder)
        self._rows = self._manager.create_collection("rows", dim=DIM, **options)

    def fill(self) -> float:
        """Seconds until all rows are durable and the first query is answered."""
        data, start = self._data, time.perf_counter()
        for first in range(0, len(data.vectors), BATCH):
            part = slice(first, first + BATCH)
            self._rows.insert_many(
                data.texts[part], data.metadatas[part], vectors=data.vectors[part]
            )
        self.ask(data.queries[0])
        return time.perf_counter() - start

    def reopen(self) -> float:
        """Seconds from opening to the first answer."""
        self.close()
        start = time.perf_counter()
        self._manager = MemoryManager(self._folder)
        self._rows = self._manager.connect_collection("rows")
        self.ask(self._data.queries[0])
        return time.perf_counter() - start

    def ask(self, query: Any, where: Any = None) -> list[int]:
        """The ten best rows, with text and metadata."""
        hits = self._rows.retrieve(query_vector=query, topk=K, where=where)
        return [hit["metadata"]["row"] for hit in hits]

    def insert_one(self, count: int) -> float:
        """Median milliseconds of a durable insert of one row."""
        data = self._data
        single = self._manager.create_collection("single", dim=DIM, **self._options)

        def insert(i: int) -> Any:
            return single.insert(data.texts[i], data.metadatas[i], vector=data.vectors[i])

        ms = median_ms(insert, range(count))[0]
        self._manager.delete_collection("single")
        return ms

    def drop(self) -> None:
        """Delete it."""
        self._manager.delete_collection("rows")
        self._manager.close()

    def close(self) -> None:
        """Release it."""
        self._manager.close()


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    data, count = Data(options.rows, options.queries), options.queries
    bare = Bare(data)
    truths = {name: data.truth(name, count) for name in FASTER}
    asks: dict[str | None, list[float]] = {name: [] for name in FASTER}
    found: dict[str | None, float] = {}
    bare_ms, one_ms, reopen, ingest = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="sage-bench-") as folder:
        ours = Store(data, Path(folder) / "sage")
        ours.fill()
        for round_ in range(options.rounds):
            again = Store(data, Path(folder) / f"again-{round_}")
            ingest.append(again.fill())
            again.drop()
            reopen.append(ours.reopen())
            bare_ms.append(median_ms(bare.ask, list(data.queries[:count]))[0])
            for name, times in asks.items():
                ms, answers = median_ms(_asking(ours, name), list(data.queries[:count]))
                times.append(ms)
                found[name] = recall(answers, truths[name])
            one_ms.append(ours.insert_one(min(options.rows, 1000)))
        ours.close()
        rows = [
            Row("Vectors", "ingest, s", ingest),
            Row("Vectors", "insert one, ms p50", one_ms, 0.12, 0.04),
            Row("Vectors", "reopen to first answer, s", reopen, 0.4, 0.1),
            Row("Vectors", "retrieve / bare index", ratios(asks[None], bare_ms), 1.25, 1.05),
        ]
        for name, times in asks.items():
            label = "top 10" if name is None else f"top 10 of {name}"
            rows.append(Row("Vectors", f"{label}, ms p50", times))
            rows.append(Row("Vectors", f"{label}, recall", [found[name]], 0.99, at_least=True))
        rows[3] = rows[3]._replace(note=f"the index is {bare.name}'s")
        if options.without_chroma:
            return rows
        other = Store(data, Path(folder) / "chroma", backend="chroma")
        their_ingest = other.fill()
        fewer = min(count, 50)
        theirs = {}
        for name in FASTER:
            ms, answers = median_ms(_asking(other, name), list(data.queries[:fewer]))
            theirs[name] = ms
            label = "top 10" if name is None else f"top 10 of {name}"
            rows.append(Row("chromadb", f"{label}, ms p50", [ms]))
            share = recall(answers, truths[name][:fewer])
            rows.append(Row("chromadb", f"{label}, recall", [share]))
        rows += [
            Row("chromadb", "ingest, s", [their_ingest]),
            Row("chromadb", "insert one, ms p50", [other.insert_one(100)]),
            Row("chromadb", "reopen to first answer, s", [other.reopen()]),
            Row(
                "Vectors",
                "ingest / chromadb",
                [own / their_ingest for own in ingest],
                1 / 40,
                1 / 100,
            ),
        ]
        for name, bounds in FASTER.items():
            label = "top 10" if name is None else f"top 10 of {name}"
            times = [theirs[name] / ms for ms in asks[name]]
            rows.append(
                Row("Vectors", f"{label}: times faster than chromadb", times, *bounds,
                    at_least=True)
            )  # fmt: skip
        other.close()
    return rows


def _asking(store: Store, name: str | None) -> Callable[[Any], list[int]]:
    where = None if name is None else WHERE[name]
    return lambda query: store.ask(query, where)


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--without-chroma", action="store_true")


if __name__ == "__main__":
    run_as_script(__doc__, measure, rounds=3, arguments=options)
