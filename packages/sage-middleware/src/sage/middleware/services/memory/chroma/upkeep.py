"""Forget, retention and checks of a chromadb collection."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from sage.middleware.services.memory.chroma import clients
from sage.middleware.services.memory.chroma.translate import TIME_FIELD
from sage.middleware.services.memory.chroma.writing import ChromaWriting
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.vdb.dense import Plan
from sage.middleware.services.memory.vdb.filters import Where, parse
from sage.middleware.services.memory.vdb.retention import check_bounds
from sage.middleware.services.memory.vdb.rows import check_ids

_PENDING = "scrub_pending"
_FOLDER = re.compile(r"chroma(-[0-9a-f]+)?")
_PAGE = 1000


class ChromaUpkeep(ChromaWriting):
    """Keeping a collection small, sound and, where asked, forgetful."""

    # -- forgetting ------------------------------------------------------------------------------

    def forget(self, where: Where | None = None, *, ids: str | Iterable[str] | None = None) -> int:
        """Delete rows so that nothing of them is left on disk; returns how many.

        chromadb keeps deleted rows in its files. So the others are copied to new files, and the old
        ones deleted: this takes as long as inserting them. A crash in between is made up for when
        the collection is opened next.

        Args:
            where: Rows that match this filter.
            ids: These rows instead; those that have no row are passed over.

        Raises:
            InvalidInputError: The rows are on a chromadb server, whose files are not ours.
        """
        if (where is None) == (ids is None):
            raise InvalidInputError("forget takes where or ids, exactly one of them")
        self._need_files("forget")
        with self._lock:
            if where is not None:
                gone = self._matching([parse(where)]) or []
            else:
                gone = self._known(check_ids([ids] if isinstance(ids, str) else list(ids or ())))
            self._change(**{_PENDING: True})
            self.delete(gone)
            self._rewrite()
        return len(gone)

    def optimize(self) -> dict[str, int]:
        """Copy the rows to new files without what was deleted.

        Returns:
            ``rows`` kept, ``bytes`` of files before minus after.

        Raises:
            InvalidInputError: The rows are on a chromadb server.
        """
        self._need_files("optimize")
        with self._lock:
            before = self._size_bytes()
            self._rewrite()
            return {"rows": len(self), "bytes": before - self._size_bytes()}

    def finish_forgetting(self) -> None:
        """Remove what a crash left behind; called when the collection is opened."""
        if self._data["server"] is not None:
            return
        if self._data.get(_PENDING):
            self._rewrite()
        self._remove_other_folders()

    def _need_files(self, what: str) -> None:
        if self._data["server"] is not None:
            raise InvalidInputError(
                f"{what} rewrites files, and the rows of collection {self.name!r} are on a "
                "chromadb server; delete hides them, and 'chroma vacuum' on the server's machine "
                "gives back their space"
            )

    def _rewrite(self) -> None:
        folder = f"chroma-{secrets.token_hex(4)}"
        old = self._live()
        client = clients.open_client(self.path, None, folder)
        try:
            rows = clients.create(
                client, self._data["remote"], self.metric, self._data["ef_search"]
            )
            ids = old.get(include=[])["ids"]
            for start in range(0, len(ids), _PAGE):
                page = old.get(
                    ids=ids[start : start + _PAGE],
                    include=["documents", "metadatas", "embeddings"],
                )
                rows.add(
                    ids=page["ids"],
                    documents=page["documents"],
                    metadatas=page["metadatas"],
                    embeddings=page["embeddings"],
                )
        except BaseException:
            clients.close_client(client)
            shutil.rmtree(self.path / folder, ignore_errors=True)
            raise
        # From here on the new files count, whatever happens.
        self._change(folder=folder, **{_PENDING: False})
        previous, self._client, self._rows = self._client, client, rows
        clients.close_client(previous)
        self._remove_other_folders()

    def _remove_other_folders(self) -> None:
        current = self._data.get("folder", clients.FOLDER)
        for path in self.path.iterdir():
            if path.is_dir() and path.name != current and _FOLDER.fullmatch(path.name):
                shutil.rmtree(path)

    def _size_bytes(self) -> int:
        return sum(f.stat().st_size for f in Path(self.path).rglob("*") if f.is_file())

    # -- retention -------------------------------------------------------------------------------

    def set_retention(self, *, max_rows: int | None = None, max_age: float | None = None) -> None:
        """Bound the collection from now on; as ``VDBMemoryCollection.set_retention``."""
        check_bounds(max_rows, max_age)
        self._change(retention={"max_rows": max_rows, "max_age": max_age})
        self.apply_retention()

    @property
    def retention(self) -> dict[str, Any]:
        """The bounds: ``max_rows`` and ``max_age`` (seconds), ``None`` where there is none."""
        kept: Mapping[str, Any] = self._data.get("retention") or {}
        return {"max_rows": kept.get("max_rows"), "max_age": kept.get("max_age")}

    def apply_retention(self, *, forget: bool = False) -> int:
        """Delete what exceeds the bounds now; as ``VDBMemoryCollection.apply_retention``."""
        with self._lock:
            gone = self._exceeding()
            if gone and forget:
                return self.forget(ids=gone)
            return self.delete(gone)

    def _exceeding(self) -> list[str]:
        bounds = self.retention
        gone: list[str] = []
        if bounds["max_age"] is not None:
            oldest = time.time() - bounds["max_age"]
            gone = list(self._live().get(where={TIME_FIELD: {"$lt": oldest}}, include=[])["ids"])
        if bounds["max_rows"] is not None and len(self) - len(gone) > bounds["max_rows"]:
            page = self._live().get(include=["metadatas"])
            # chromadb gives rows in the order of their first insertion; equal times stay in it.
            times = [
                (stored[TIME_FIELD], place)
                for place, stored in enumerate(page["metadatas"])
            ]  # fmt: skip
            order = [place for _, place in sorted(times)]
            gone = [page["ids"][place] for place in order[: len(order) - bounds["max_rows"]]]
        return gone

    def _after_write(self) -> None:
        if self._data.get("retention"):
            self.apply_retention()

    # -- facts -----------------------------------------------------------------------------------

    def explain(
        self, topk: int = 10, index_name: str | None = None, *, where: Where | None = None
    ) -> dict[str, Any]:
        """How a dense query is answered: always by chromadb's HNSW graph, filters first."""
        matching = self.count(where, index_name)
        return attrs.asdict(
            Plan(strategy="hnsw" if matching else "none", matching=matching, engine="chromadb")
        )

    def check(self) -> list[str]:
        """What is wrong, in words; an empty list if nothing is."""
        found: list[str] = []
        seen = 0
        for ids, vectors in self._pages(["embeddings"]):
            seen += len(ids)
            wrong = sum(len(vector) != self.dim for vector in vectors)
            if wrong:
                found.append(f"{wrong} vectors do not have the dimension {self.dim}")
        if seen != len(self):
            found.append(f"chromadb counts {len(self)} rows and gives {seen}")
        return found
