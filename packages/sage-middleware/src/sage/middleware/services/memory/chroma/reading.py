"""Rows of a chromadb collection by id, by filter, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sage.middleware.services.memory.chroma.base import ChromaBase
from sage.middleware.services.memory.chroma.translate import (
    MEMBER_PREFIX,
    TIME_FIELD,
    conjunction,
    from_chroma,
    split,
)
from sage.middleware.services.memory.errors import (
    IndexDetachedError,
)
from sage.middleware.services.memory.vdb.filters import Node, Where, matches, parse
from sage.middleware.services.memory.vdb.retrieval import Hit

_PAGE = 1000


class ChromaReading(ChromaBase):
    """Get, count, scan."""

    def get(self, ids: str | list[str] | tuple[str, ...], *, with_vectors: bool = False) -> Any:
        """Rows by id; as ``VDBMemoryCollection.get``."""
        wanted = [ids] if isinstance(ids, str) else list(ids)
        found: dict[str, Hit] = {}
        for start in range(0, len(wanted), _PAGE):
            for row in self._read(with_vectors, ids=wanted[start : start + _PAGE]):
                found[row["id"]] = row
        rows = [found[i] for i in wanted if i in found]
        if isinstance(ids, str):
            return rows[0] if rows else None
        return rows

    def _read(self, with_vectors: bool, **selection: Any) -> list[Hit]:
        if not selection.get("ids", True):
            return []
        include = ["documents", "metadatas", *(["embeddings"] if with_vectors else [])]
        page = self._live().get(include=include, **selection)
        rows: list[Hit] = []
        for i, (one, text, stored) in enumerate(
            zip(page["ids"], page["documents"], page["metadatas"], strict=True)
        ):
            row: Hit = {"id": one, "text": text, "metadata": from_chroma(stored)}
            row["updated"] = (stored or {}).get(TIME_FIELD)
            if with_vectors:
                row["vector"] = np.asarray(page["embeddings"][i], np.float32)
            rows.append(row)
        return rows

    def _pages(self, include: list[str]) -> Iterator[tuple[list[str], Any]]:
        ids = self._live().get(include=[])["ids"]
        for start in range(0, len(ids), _PAGE):
            page = self._live().get(ids=ids[start : start + _PAGE], include=include)
            yield page["ids"], page[include[0]]

    def count(self, where: Where | None = None, index_name: str | None = None) -> int:
        """How many rows match a filter, an index, or both."""
        nodes = self._nodes(where, index_name)
        if not nodes:
            return len(self)
        matching = self._matching(nodes)
        return len(self) if matching is None else len(matching)

    def scan(
        self, where: Where | None = None, *, limit: int | None = None, with_vectors: bool = False
    ) -> Iterator[Hit]:
        """Rows one by one; those written while the scan runs may be missing."""
        ids = self._matching([parse(where)] if where is not None else [])
        if ids is None:
            ids = self._live().get(include=[])["ids"]
        ids = ids[:limit]
        for start in range(0, len(ids), _PAGE):
            yield from self._read(with_vectors, ids=ids[start : start + _PAGE])

    def _nodes(self, where: Where | None, index_name: str | None) -> list[Node]:
        nodes = []
        if index_name is not None:
            spec = self._index(index_name)
            if spec["callable"]:
                if not spec["complete"]:
                    raise IndexDetachedError(
                        f"index {index_name!r} was made with a Python callable and rows were "
                        f"written without it; call attach_filter({index_name!r}, func)",
                        index=index_name,
                    )
                nodes.append(parse({MEMBER_PREFIX + index_name: True}))
            elif spec["where"] is not None:
                nodes.append(parse(spec["where"]))
        if where is not None:
            nodes.append(parse(where))
        return nodes

    def _selection(self, nodes: Sequence[Node]) -> tuple[Any, list[Node]]:
        clauses, rest = [], []
        for node in nodes:
            clause, left = split_member(node)
            if clause is not None:
                clauses.append(clause)
            if left is not None:
                rest.append(left)
        return conjunction(clauses), rest

    def _matching(self, nodes: Sequence[Node]) -> list[str] | None:
        """Ids of the rows that pass, ``None`` for all."""
        clause, rest = self._selection(nodes)
        if clause is None and not rest:
            return None
        include = ["metadatas"] if rest else []
        page = self._live().get(where=clause, include=include)
        if not rest:
            return list(page["ids"])
        return [
            i
            for i, stored in zip(page["ids"], page["metadatas"], strict=True)
            if all(matches(node, from_chroma(stored)) for node in rest)
        ]


def split_member(node: Node) -> tuple[Any, Node | None]:
    """``split``, with the marks of callable indexes as fields of chromadb."""
    field = getattr(node, "field", "")
    if isinstance(field, str) and field.startswith(MEMBER_PREFIX):
        return {field: True}, None
    return split(node)
