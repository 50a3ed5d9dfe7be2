"""The snapshot of an adjacency: one file of arrays, checked, without pickle."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from sage.middleware.services.memory.graph.adjacency import Adjacency, Ints, Weights
from sage.middleware.services.memory.graph.keys import NodeKey

_MAGIC = b"sage-adjacency/1\n"


def write(
    path: Path,
    seq: int,
    keys: list[NodeKey | None],
    sources: Ints,
    targets: Ints,
    types: Ints,
    weights: Weights,
) -> None:
    """Writes the snapshot; a reader, or a crash at any point, finds the old or the new one.

    Args:
        path: The file.
        seq: The last entry of ``links`` that it holds.
        keys: See ``Adjacency``.
        sources: See ``Adjacency``.
        targets: See ``Adjacency``.
        types: See ``Adjacency``.
        weights: See ``Adjacency``.
    """
    blobs = [
        msgspec.msgpack.encode(keys),
        *(np.ascontiguousarray(a).tobytes() for a in (sources, targets, types, weights)),
    ]
    head = msgspec.json.encode(
        {"seq": seq, "sizes": [len(blob) for blob in blobs], "crc32": [crc32(b) for b in blobs]}
    )
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with part.open("xb") as file:
            file.write(_MAGIC + head + b"\n")
            for blob in blobs:
                file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> tuple[int, Adjacency] | None:
    """The snapshot and its ``seq``; ``None`` if it is missing or damaged: it can be made anew."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if not data.startswith(_MAGIC):
        return None
    end = data.find(b"\n", len(_MAGIC))
    try:
        head: dict[str, Any] = msgspec.json.decode(data[len(_MAGIC) : end])
        sizes, sums = head["sizes"], head["crc32"]
        parts, at = [], end + 1
        for size, checksum in zip(sizes, sums, strict=True):
            part = memoryview(data)[at : at + size]
            if len(part) != size or crc32(part) != checksum:
                return None
            parts.append(part)
            at += size
        packed, sources, targets, types, weights = parts
        keys = msgspec.msgpack.decode(packed, type=list[str | int | None])
        seq = int(head["seq"])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return None
    return seq, Adjacency(
        keys, _array(sources), _array(targets), _array(types), np.frombuffer(weights, np.float64)
    )


def _array(part: memoryview) -> npt.NDArray[np.int32]:
    return np.frombuffer(part, np.int32)
