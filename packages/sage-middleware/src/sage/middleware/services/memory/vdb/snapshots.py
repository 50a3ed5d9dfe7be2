"""Caches of a vector collection on disk, so that it opens without reading every row.

A snapshot is a directory of plain files and a manifest with their checksums. It is written beside
the one before, then ``CURRENT`` is replaced, then the old one goes. A snapshot of another
generation, newer than the database, or damaged is ignored: everything in it can be made again.
"""

from __future__ import annotations

import os
import secrets
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from sage.middleware.services.memory.vdb.dense import DenseSearch, Engine
from sage.middleware.services.memory.vdb.engine_registry import engine_class
from sage.middleware.services.memory.vdb.state import State, View
from sage.middleware.services.memory.vdb.text_search import (
    loaded_text_searches,
    saved_text,
    unpack_bits,
)

_FORMAT = "sage-vdb-snapshot/1"
_CURRENT = "CURRENT"
_CHUNK = 1 << 22


class Snapshots:
    """The snapshots of the collection in ``path``."""

    def __init__(self, path: Path) -> None:
        self._root = path / "snapshots"
        self.stored_seq = -1
        self.stored_count = 0

    # -- writing ---------------------------------------------------------------------------------

    def write(self, view: View, dense: DenseSearch) -> None:
        """Write everything the view's generation has in memory.

        The caller holds the collection's write lock, so that no compaction comes in between.
        """
        self._root.mkdir(exist_ok=True)
        name = f"{view.generation.epoch}-{view.seq}-{secrets.token_hex(4)}"
        target = self._root / name
        target.mkdir()
        try:
            manifest = self._fill(target, view, dense)
            (target / "manifest.json").write_bytes(orjson.dumps(manifest))
            part = self._root / f".{name}"
            part.write_bytes(orjson.dumps({"name": name, "crc": _crc(target / "manifest.json")}))
            part.replace(self._root / _CURRENT)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        self._remove_others(name)
        self.stored_seq, self.stored_count = view.seq, view.count

    def _fill(self, target: Path, view: View, dense: DenseSearch) -> dict[str, Any]:
        head, codes = view.generation.columns.dump()
        (target / "columns.json").write_bytes(head)
        for key, array in codes.items():
            np.save(target / f"{key}.npy", array)
        np.save(target / "alive.npy", np.packbits(view.alive))
        manifest: dict[str, Any] = {
            "format": _FORMAT,
            "epoch": view.generation.epoch,
            "seq": view.seq,
            "count": view.count,
            "dead_seq": view.dead_seq,
            "columns": len(codes),
            "engine": None,
            "texts": [],
        }
        if dense.uses_engine(view):
            engine = dense.engine(view)
            scan = engine.follow(view, 0)
            scan.save(target / "engine.bin")
            manifest["engine"] = {"name": scan.name, "calibrated": engine.calibrated}
        for i, search in enumerate(loaded_text_searches(view)):
            search.follow(view)
            search.index.save(target / f"text-{i}")
            np.save(target / f"text-{i}.npy", np.packbits(search.indexed()))
            manifest["texts"].append({"options": search.options, "count": search.count})
        manifest["crc"] = {
            file.name: _crc(file) for file in sorted(target.iterdir()) if file.is_file()
        }
        return manifest

    def _remove_others(self, keep: str | None) -> None:
        for entry in self._root.iterdir():
            if entry.is_dir() and entry.name != keep:
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name.startswith("."):
                entry.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete every snapshot."""
        if self._root.exists():
            shutil.rmtree(self._root)
        self.stored_seq, self.stored_count = -1, 0

    # -- reading ---------------------------------------------------------------------------------

    def restore(
        self,
        state: State,
        dense: DenseSearch,
        epoch: int,
        seq: int,
        dim: int | None,
        attach: Callable[[View], None],
    ) -> bool:
        """Start ``state`` from the snapshot; whether there was a usable one."""
        try:
            current = orjson.loads((self._root / _CURRENT).read_bytes())
            source = self._root / current["name"]
            raw = (source / "manifest.json").read_bytes()
            manifest = orjson.loads(raw)
            if (
                zlib.crc32(raw) != current["crc"]
                or manifest["format"] != _FORMAT
                or manifest["epoch"] != epoch
                or manifest["seq"] > seq
                or any(_crc(source / f) != crc for f, crc in manifest["crc"].items())
            ):
                return False
            self._load(state, dense, source, manifest, dim, attach)
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            # Missing, unreadable or of an unknown form: the rows are read instead.
            return False
        self.stored_seq, self.stored_count = manifest["seq"], manifest["count"]
        return True

    def _load(
        self,
        state: State,
        dense: DenseSearch,
        source: Path,
        manifest: dict[str, Any],
        dim: int | None,
        attach: Callable[[View], None],
    ) -> None:
        count = manifest["count"]
        codes = {
            f"c{i}": np.load(source / f"c{i}.npy", allow_pickle=False)
            for i in range(manifest["columns"])
        }
        scan = None
        saved = manifest["engine"]
        if dim is not None and saved is not None and dense.choice.fixed in (None, saved["name"]):
            scan = engine_class(saved["name"]).load(source / "engine.bin", dim)
        view = state.restore(
            manifest["epoch"],
            manifest["seq"],
            unpack_bits(source / "alive.npy", count),
            manifest["dead_seq"],
            (source / "columns.json").read_bytes(),
            codes,
        )
        attach(view)
        if scan is not None and scan.count <= count:
            engine: Engine = dense.engine(view)
            engine.restore(scan, saved["calibrated"])
        for i, text in enumerate(manifest["texts"]):
            # Read when somebody searches by words: most handles never do.
            saved_text(view, text["options"], source / f"text-{i}", text["count"])


def _crc(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
