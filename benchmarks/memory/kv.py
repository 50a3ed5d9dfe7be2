"""The KV collection against a plain sqlite3 table, in one run.

    python -m benchmarks.memory.kv                    # 100,000 values of about 0.9 KB
    python -m benchmarks.memory.kv --values 20000 --durability power

Both sides use WAL and the same ``synchronous``; the plain table holds the same bytes.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.harness.meters import ratios
from benchmarks.harness.rows import Row, run_as_script

from sage.middleware.services.memory.memory_collection.kv_collection import KVMemoryCollection

SYNCHRONOUS = {"process": "normal", "power": "full", "none": "off"}


def median_us(call: Callable[[Any], Any], arguments: Sequence[Any]) -> float:
    """Median microseconds of one call."""
    times = []
    for argument in arguments:
        begin = time.perf_counter()
        call(argument)
        times.append(time.perf_counter() - begin)
    return float(np.median(times)) * 1e6


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    keys = [f"key:{i:08d}" for i in range(options.values)]
    random.Random(5).shuffle(keys)
    items = [
        (key, json.dumps({"id": i, "text": f"some words of value {i} " * 35}).encode())
        for i, key in enumerate(keys)
    ]
    picks = random.Random(1).choices(keys, k=5000)
    put: dict[str, list[float]] = {"ours": [], "raw": []}
    get: dict[str, list[float]] = {"ours": [], "raw": []}
    bulk: dict[str, list[float]] = {"ours": [], "raw": []}
    for round_ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            raw = sqlite3.connect(f"{folder}/raw.db", isolation_level=None)
            raw.execute("pragma journal_mode=wal")
            raw.execute(f"pragma synchronous={SYNCHRONOUS[options.durability]}")
            raw.execute("create table kv (k text primary key, v blob)")
            path = Path(folder, "kv")
            path.mkdir()
            ours = KVMemoryCollection.create(path, name="kv", durability=options.durability)

            def put_raw(item: tuple[str, bytes], raw: sqlite3.Connection = raw) -> None:
                raw.execute("insert or replace into kv values (?, ?)", item)

            def get_raw(key: str, raw: sqlite3.Connection = raw) -> bytes:
                value: bytes = raw.execute("select v from kv where k = ?", (key,)).fetchone()[0]
                return value

            def put_ours(item: tuple[str, bytes], ours: KVMemoryCollection = ours) -> None:
                ours.put(*item)

            sides = [("raw", put_raw), ("ours", put_ours)]
            for name, call in sides[:: 1 if round_ % 2 else -1]:
                put[name].append(median_us(call, items[:5000]))
            begin = time.perf_counter()
            raw.execute("begin")
            raw.executemany("insert or replace into kv values (?, ?)", items)
            raw.execute("commit")
            between = time.perf_counter()
            ours.put_many(items)
            bulk["raw"].append(between - begin)
            bulk["ours"].append(time.perf_counter() - between)
            assert all(ours.get(key) == get_raw(key) for key in picks[:100])
            for name, ask in [("raw", get_raw), ("ours", ours.get)]:
                get[name].append(median_us(ask, picks))
            raw.close()
            ours.close()
    note = f"durability {options.durability}"
    rows = []
    for what, unit, found in (("put", "us p50", put), ("get", "us p50", get)):
        rows += [
            Row("KV", f"{what}, {unit}", found["ours"], note=note),
            Row("sqlite3", f"{what}, {unit}", found["raw"]),
            Row("KV", f"{what} / sqlite3", ratios(found["ours"], found["raw"]), 1.5, 1.3),
        ]
    rows.append(Row("KV", "put_many / sqlite3", ratios(bulk["ours"], bulk["raw"])))
    return rows


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--values", type=int, default=100_000)
    parser.add_argument("--durability", choices=list(SYNCHRONOUS), default="process")


if __name__ == "__main__":
    run_as_script(__doc__, measure, rounds=3, arguments=options)
