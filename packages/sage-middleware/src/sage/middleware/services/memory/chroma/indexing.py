"""Named filters over a chromadb collection."""

from __future__ import annotations

from typing import Any

from sage.middleware.services.memory.chroma.reading import ChromaReading
from sage.middleware.services.memory.chroma.translate import (
    MEMBER_PREFIX,
    from_chroma,
)
from sage.middleware.services.memory.chroma.words import Words
from sage.middleware.services.memory.errors import (
    IndexExistsError,
    InvalidInputError,
)
from sage.middleware.services.memory.storage.layout import check_name
from sage.middleware.services.memory.vdb.filters import Where, parse
from sage.middleware.services.memory.vdb.index_specs import KINDS, MetadataFilter
from sage.middleware.services.memory.vdb.rows import (
    Metadata,
)


class ChromaIndexing(ChromaReading):
    """Create, list, drop and attach indexes."""

    def create_index(
        self,
        name: str,
        metadata_filter_func: MetadataFilter | None = None,
        *,
        where: Where | None = None,
        kind: str = "vector",
        description: str = "",
    ) -> None:
        """Make a named filter; as ``VDBMemoryCollection.create_index``."""
        check_name(name)
        if metadata_filter_func is not None and where is not None:
            raise InvalidInputError("an index takes metadata_filter_func or where, not both")
        if kind not in KINDS:
            raise InvalidInputError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
        if where is not None:
            parse(where)
        with self._lock:
            if name in self._sidecar.read()["indexes"]:
                raise IndexExistsError(f"there is an index {name!r} already", index=name)
            if metadata_filter_func is not None:
                self._decide_all(name, metadata_filter_func)
            spec = {
                "name": name,
                "kind": kind,
                "description": description,
                "where": None if where is None else dict(where),
                "callable": metadata_filter_func is not None,
                "complete": True,
            }
            self._put_index(spec)

    def attach_filter(self, name: str, metadata_filter_func: MetadataFilter) -> None:
        """Give a callable index its callable again; all rows are shown to it."""
        with self._lock:
            spec = self._index(name)
            if not spec["callable"]:
                raise InvalidInputError(f"index {name!r} has a declarative filter")
            self._decide_all(name, metadata_filter_func)
            self._put_index({**spec, "complete": True})

    def drop_index(self, name: str) -> None:
        """Remove an index; the rows stay."""
        with self._lock:
            self._index(name)
            indexes = dict(self._data["indexes"])
            del indexes[name]
            self._callables.pop(name, None)
            self._change(indexes=indexes)

    def rebuild_index(self, name: str | None = None) -> None:
        """Make the index of words anew; chromadb keeps its vector index itself."""
        if name is not None:
            self._index(name)
        self._words = Words()

    def optimize_index(self, name: str | None = None) -> None:
        """Nothing to do: chromadb keeps its index itself."""
        if name is not None:
            self._index(name)

    def _decide_all(self, name: str, decide: MetadataFilter) -> None:
        key = MEMBER_PREFIX + name
        for ids, metadatas in self._pages(["metadatas"]):
            marks = [{key: bool(decide(from_chroma(m)))} for m in metadatas]
            self._live().update(ids=ids, metadatas=marks)
        self._callables[name] = decide

    def _memberships(self, metadata: Metadata) -> dict[str, bool]:
        return {
            MEMBER_PREFIX + name: bool(decide(dict(metadata)))
            for name, decide in self._callables.items()
        }

    def _mark_incomplete(self) -> None:
        for name, spec in self._data["indexes"].items():
            if spec["callable"] and spec["complete"] and name not in self._callables:
                self._put_index({**spec, "complete": False})

    def list_indexes(self) -> list[dict[str, Any]]:
        """Every index: name, kind, filter, number of rows, and whether a callable is attached."""
        return [
            {
                **spec,
                "attached": name in self._callables,
                "rows": self.count(index_name=name) if spec["complete"] else None,
            }
            for name, spec in sorted(self._data["indexes"].items())
        ]
