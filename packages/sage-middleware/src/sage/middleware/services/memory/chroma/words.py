"""Search by words over a chromadb collection: a BM25 index in memory, kept up by this handle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sage.middleware.search.bm25 import BM25Index

_PAGE = 5000


class Words:
    """BM25 over documents by id; reads all of them again when chromadb's count differs."""

    def __init__(self) -> None:
        self._index = BM25Index()
        self._ids: list[str] = []
        self._slots: dict[str, int] = {}
        self.loaded = False

    def load(self, rows: Any) -> None:
        """Index every document."""
        self._index, self._ids, self._slots = BM25Index(), [], {}
        self.loaded = True
        offset = 0
        while True:
            page = rows.get(include=["documents"], limit=_PAGE, offset=offset)
            if not page["ids"]:
                return
            self.put(page["ids"], page["documents"])
            offset += len(page["ids"])

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Add or replace documents."""
        slots = []
        for one in ids:
            slot = self._slots.get(one)
            if slot is None:
                slot = self._slots[one] = len(self._ids)
                self._ids.append(one)
            slots.append(slot)
        self._index.add(slots, texts)

    def drop(self, ids: Sequence[str]) -> None:
        """Take documents out."""
        self._index.delete([self._slots.pop(i) for i in ids if i in self._slots])

    def search(
        self, query: str, topk: int, allowed: Sequence[str] | None
    ) -> tuple[list[str], list[float]]:
        """Ids and scores of the best documents, best first."""
        slots = None
        if allowed is not None:
            slots = np.array(sorted(self._slots[i] for i in allowed if i in self._slots), np.int64)
        found, points = self._index.search(query, topk, slots)
        return [self._ids[s] for s in found.tolist()], points.tolist()
