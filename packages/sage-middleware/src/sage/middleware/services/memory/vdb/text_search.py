"""Search by words: a BM25 index over the texts of a collection, kept up with its views."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sage.middleware.search.bm25.engine import TextEngine, load_text_engine, text_engine
from sage.middleware.search.bm25.snapshot import SnapshotError
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.storage.database import Database
from sage.middleware.services.memory.vdb.dense import Allowed
from sage.middleware.services.memory.vdb.engines import FloatArray, Slots
from sage.middleware.services.memory.vdb.filters import BoolArray, canonical
from sage.middleware.services.memory.vdb.state import StaleViewError, View

OPTIONS = ("engine", "language", "k1", "b", "stemming", "stop_words")
_PAGE = 20_000


class TextSearch:
    """One index of the texts of a generation.

    Statistics are those of all rows of the collection, also when a filter lets only some through.
    """

    def __init__(self, database: Database, options: Mapping[str, Any]) -> None:
        self._database = database
        self.options = dict(options)
        self._lock = threading.Lock()
        self.index = self._new_index()
        self._indexed: BoolArray = np.zeros(0, np.bool_)
        self._count = 0
        self._seq = -1

    def _new_index(self) -> TextEngine:
        options = dict(self.options)
        return text_engine(options.pop("engine", "sage"), **options)

    def optimize(self) -> None:
        """Bring the index into its fastest form, if it has one."""
        if hasattr(self.index, "optimize"):
            self.index.optimize()

    def query_weight(self, query: str) -> float | None:
        """The highest score a row could have for this query, if the engine can say."""
        if hasattr(self.index, "query_weight"):
            return float(self.index.query_weight(query))
        return None

    @property
    def count(self) -> int:
        """Slots the index has seen."""
        return self._count

    def indexed(self) -> BoolArray:
        """Which slots the index holds."""
        return self._indexed[: self._count]

    def load(self, path: Path, count: int) -> None:
        """Take the index from a snapshot; one that cannot be read is made anew from the texts."""
        try:
            indexed = unpack_bits(path.with_suffix(".npy"), count)
            index = load_text_engine(self.options.get("engine", "sage"), path)
        except (OSError, ValueError, SnapshotError):
            return
        self.index, self._indexed, self._count = index, indexed, count

    def follow(self, view: View) -> None:
        """Add the rows and drop the dead of a view, unless that is done."""
        if self._seq >= view.seq:
            return
        with self._lock:
            if self._seq >= view.seq:
                return
            if view.dead:
                upto = min(self._count, view.count)
                gone = np.flatnonzero(self._indexed[:upto] & ~view.alive[:upto])
                if len(gone):
                    self.index.delete(gone.tolist())
                    self._indexed[gone] = False
            while self._count < view.count:
                self._add(view, min(view.count, self._count + _PAGE))
            self._seq = view.seq

    def _add(self, view: View, end: int) -> None:
        with self._database.snapshot() as c:
            (epoch,) = c.execute("SELECT epoch FROM state").fetchone()
            if epoch != view.generation.epoch:
                raise StaleViewError
            rows = c.execute(
                "SELECT slot, text FROM rows WHERE slot >= ? AND slot < ? ORDER BY slot",
                (self._count, end),
            ).fetchall()
        if end > len(self._indexed):
            grown = np.zeros(max(end, len(self._indexed) * 3 // 2), np.bool_)
            grown[: self._count] = self._indexed[: self._count]
            self._indexed = grown
        slots = [slot for slot, _ in rows]
        self.index.add(slots, [text for _, text in rows])
        self._indexed[slots] = True
        self._count = end

    def search(self, query: str, allowed: Allowed, topk: int) -> tuple[Slots, FloatArray]:
        """The best slots with their BM25 scores, best first; only rows with a word of the query."""
        view = allowed.view
        self.follow(view)
        if not len(self.index) or not allowed.matching:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        # A newer view may have brought the index further than this one.
        exact = allowed.everything and self._count == view.count
        slots, points = self.index.search(query, topk, None if exact else allowed.bits())
        return slots, points


def text_search(database: Database, view: View, options: Mapping[str, Any]) -> TextSearch:
    """The text index of the view's generation with these options; empty at first."""
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InvalidInputError(
            f"a bm25 index has no option {unknown[0]!r}; known are {', '.join(OPTIONS)}"
        )
    key = f"text:{canonical(options).decode()}"
    parts = view.generation.parts
    found: TextSearch | None = parts.get(key)
    if found is None:
        with view.generation.lock:
            found = parts.get(key)
            if found is None:
                found = TextSearch(database, options)
                saved = parts.pop(f"saved-{key}", None)
                if saved is not None:
                    found.load(*saved)
                parts[key] = found
    return found


def saved_text(view: View, options: Mapping[str, Any], path: Path, count: int) -> None:
    """Remember where the text index with these options can be loaded from."""
    key = f"saved-text:{canonical(options).decode()}"
    view.generation.parts[key] = (path, count)


def unpack_bits(path: Path, count: int) -> BoolArray:
    """``count`` booleans from a file of packed bits.

    Raises:
        ValueError: The file holds fewer.
    """
    bits = np.unpackbits(np.load(path, allow_pickle=False), count=count)
    if len(bits) != count:
        raise ValueError(f"{path.name} holds {len(bits)} bits, expected {count}")
    return bits.view(np.bool_)


def loaded_text_searches(view: View) -> list[TextSearch]:
    """The text indexes that the view's generation has in memory."""
    return [part for part in list(view.generation.parts.values()) if isinstance(part, TextSearch)]
