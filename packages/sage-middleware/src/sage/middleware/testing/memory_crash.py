"""Killing a process that writes to a vector collection, and comparing what is left with a model.

The operations are a function of a seed, so that the writer and the judge agree on them without
talking. The writer says ``ACK n`` after operation ``n`` returned. After ``kill -9`` the collection
must equal the model after the acknowledged operations, or after the one more that was in flight;
nothing else: no acknowledged row lost, no half batch.

As a program: ``python -m sage.middleware.testing.memory_crash DATA_DIR SEED FIRST`` writes until it
is killed.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from sage.middleware.services.memory.memory_manager import MemoryManager

DIM = 32
NAME = "crash"
_BATCH = 60
FloatArray = npt.NDArray[np.float32]


@attrs.frozen
class Row:
    """What the model knows of a row: its text, metadata and vector follow from id and version."""

    id: str
    version: int

    @property
    def text(self) -> str:
        """Text of this version."""
        return f"{self.id} in version {self.version}"

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of this version."""
        return {"version": self.version, "group": sum(self.id.encode()) % 7}

    @property
    def vector(self) -> FloatArray:
        """Normalised vector of this version."""
        seed = [self.version, *self.id.encode()]
        vector = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
        unit: FloatArray = vector / np.linalg.norm(vector)
        return unit


@attrs.frozen
class Operation:
    """One call: ``insert``, ``update``, ``upsert``, ``delete``, ``forget`` or ``optimize``."""

    number: int
    kind: str
    rows: tuple[Row, ...] = ()
    ids: tuple[str, ...] = ()


class Model:
    """The collection as it has to be after some operations."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.rows: dict[str, Row] = {}
        self.done = 0

    def next(self) -> Operation:
        """The operation that follows."""
        number = self.done
        rng = random.Random(f"{self._seed}-{number}")  # noqa: S311
        kinds = ["insert"] * 6 + ["update"] * 4 + ["delete"] * 3 + ["upsert"] * 2
        kind = rng.choice([*kinds, "forget", "optimize"])
        known = sorted(self.rows)
        if kind == "insert" or len(known) < 2 * _BATCH:
            new = tuple(Row(f"n{number}-{i}", 0) for i in range(rng.randint(1, _BATCH)))
            return Operation(number, "insert", rows=new)
        picks = rng.sample(known, rng.randint(1, _BATCH))
        if kind in ("delete", "forget"):
            return Operation(number, kind, ids=tuple(picks))
        if kind == "optimize":
            return Operation(number, kind)
        rows = [Row(i, self.rows[i].version + 1) for i in picks]
        if kind == "upsert":
            rows += [Row(f"u{number}-{i}", 0) for i in range(rng.randint(1, _BATCH))]
        return Operation(number, kind, rows=tuple(rows))

    def apply(self, operation: Operation) -> None:
        """Count an operation as done."""
        for row in operation.rows:
            self.rows[row.id] = row
        for one in operation.ids:
            del self.rows[one]
        self.done += 1

    def operations(self) -> Iterator[Operation]:
        """Operations without end, each applied when the next is taken."""
        while True:
            operation = self.next()
            yield operation
            self.apply(operation)


def perform(collection: Any, operation: Operation) -> None:
    """Do an operation on a real collection."""
    match operation.kind:
        case "delete":
            collection.delete(list(operation.ids))
        case "forget":
            collection.forget(ids=list(operation.ids))
        case "optimize":
            collection.optimize()
        case kind:
            ids = [r.id for r in operation.rows]
            texts = [r.text for r in operation.rows]
            metadatas = [r.metadata for r in operation.rows]
            vectors = np.stack([r.vector for r in operation.rows])
            if kind == "update":
                collection.update_many(ids, texts, metadatas, vectors=vectors)
            else:
                write = collection.insert_many if kind == "insert" else collection.upsert
                write(texts, metadatas, ids, vectors=vectors)


def differences(collection: Any, model: Model) -> list[str]:
    """How the collection differs from the model, in words."""
    found = {r["id"]: r for r in collection.scan(with_vectors=True)}
    out = [f"lost: {i}" for i in model.rows if i not in found]
    out += [f"not expected: {i}" for i in found if i not in model.rows]
    for one, row in model.rows.items():
        there = found.get(one)
        if there is None:
            continue
        if (there["text"], there["metadata"]) != (row.text, row.metadata):
            out.append(f"{one}: found {there['text']!r}, expected {row.text!r}")
        elif not np.allclose(there["vector"], row.vector, atol=1e-6):
            out.append(f"{one}: another row's vector")
    return out


def search_faults(collection: Any, model: Model, rng: random.Random, most: int = 20) -> list[str]:
    """Rows that are not the nearest to their own vector, in words."""
    out = []
    for one in rng.sample(sorted(model.rows), min(most, len(model.rows))):
        row = model.rows[one]
        for where in (None, {"group": row.metadata["group"]}):
            hits = collection.retrieve(query_vector=row.vector, topk=1, where=where)
            if not hits or hits[0]["id"] != one:
                out.append(f"{one} is not found by its own vector (where={where!r})")
    if collection.count() != len(model.rows):
        out.append(f"count() is {collection.count()}, expected {len(model.rows)}")
    return out


@attrs.define
class Round:
    """One kill: operations acknowledged, whether the one in flight was kept, and faults."""

    acknowledged: int
    in_flight_kept: bool
    faults: list[str]
    reopen_seconds: float


def kill_round(
    data_dir: Path, seed: int, model: Model, rng: random.Random, longest: int = 40
) -> Round:
    """Let a process write, kill it, and bring ``model`` to what the collection is now."""
    writer = subprocess.Popen(  # noqa: S603 - this module itself
        [sys.executable, "-m", __name__, str(data_dir), str(seed), str(model.done)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    wait_for = model.done + rng.randint(0, longest)
    acknowledged = model.done
    with writer:
        for line in writer.stdout:
            acknowledged = _acknowledged(line, acknowledged)
            if acknowledged >= wait_for or (line.startswith("READY") and wait_for == model.done):
                break
        time.sleep(rng.random() * 0.008)
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:  # said before the end, read after it
            acknowledged = _acknowledged(line, acknowledged)
    begun = time.perf_counter()
    while model.done < acknowledged:
        model.apply(model.next())
    with MemoryManager(data_dir) as manager:
        collection = manager.connect_collection(NAME)
        collection.count()
        seconds = time.perf_counter() - begun
        faults = differences(collection, model)
        kept = False
        if faults:
            # The operation in flight may have been committed without being acknowledged.
            model.apply(model.next())
            kept = True
            faults = differences(collection, model)
        faults += collection.check()
        faults += search_faults(collection, model, rng)
    return Round(acknowledged, kept, faults, seconds)


def _acknowledged(line: str, before: int) -> int:
    if line.startswith("ACK ") and line.endswith("\n"):
        return int(line[4:]) + 1
    return before


def write_until_killed(data_dir: Path, seed: int, first: int) -> None:
    """The writer: go on at operation ``first``."""
    model = Model(seed)
    while model.done < first:
        model.apply(model.next())
    manager = MemoryManager(data_dir)
    collection = manager.connect_collection(NAME)
    print("READY", flush=True)  # noqa: T201 - the protocol with the judge
    for operation in model.operations():
        perform(collection, operation)
        print("ACK", operation.number, flush=True)  # noqa: T201


def make_collection(data_dir: Path, **options: Any) -> None:
    """The collection the rounds work on."""
    with MemoryManager(data_dir) as manager:
        manager.create_collection(NAME, dim=DIM, **options)


if __name__ == "__main__":
    write_until_killed(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
