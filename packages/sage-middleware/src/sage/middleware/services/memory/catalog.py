"""``manager.json``: the register of a manager's collections.

The directories are the truth: an entry without a directory is dropped, a directory that holds a
collection but no entry is read and entered again. The file is replaced as a whole.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import attrs
import orjson

from sage.common.paths import replacing
from sage.middleware.services.memory.storage.layout import KIND_FILE, has_collection

MANAGER_FILE = "manager.json"
_LOCK_FILE = ".manager.lock"
_LOCK_SECONDS = 30.0


@attrs.frozen(kw_only=True)
class CatalogEntry:
    """One collection: ``backend`` is what opens it, ``backend_type`` what it is."""

    name: str
    backend_type: str
    backend: str
    description: str = ""


class Catalog:
    """The register below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = root / MANAGER_FILE

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other managers, also of other processes, from changing the register."""
        # SQLite's own file lock is the one lock that works the same on every platform.
        lock = sqlite3.connect(self._root / _LOCK_FILE, timeout=_LOCK_SECONDS, isolation_level=None)
        try:
            lock.execute("BEGIN EXCLUSIVE")
            yield
        finally:
            lock.close()

    def read(self) -> dict[str, CatalogEntry]:
        """Every collection by name."""
        listed: dict[str, CatalogEntry] = {}
        with contextlib.suppress(FileNotFoundError, orjson.JSONDecodeError):
            for raw in orjson.loads(self._file.read_bytes()).get("collections", ()):
                entry = CatalogEntry(**raw)
                listed[entry.name] = entry
        found: dict[str, CatalogEntry] = {}
        for path in sorted(self._root.iterdir()):
            if path.is_dir() and has_collection(path):
                entry_ = listed.get(path.name) or self._from_directory(path)
                if entry_ is not None:
                    found[path.name] = entry_
        return found

    def _from_directory(self, path: Path) -> CatalogEntry | None:
        try:
            raw = orjson.loads((path / KIND_FILE).read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        return CatalogEntry(**{**raw, "name": path.name})

    def put(self, entry: CatalogEntry) -> None:
        """Enter a new collection; its directory says the same."""
        directory = self._root / entry.name
        with replacing(directory / KIND_FILE) as stream:
            stream.write(orjson.dumps(attrs.asdict(entry)))
        self._write(self.read())

    def rename(self, entry: CatalogEntry, new_name: str) -> None:
        """Enter a collection under the name its directory has now."""
        self.put(attrs.evolve(entry, name=new_name))

    def remove(self, name: str) -> None:
        """Drop a collection whose directory is gone."""
        self._write(self.read())

    def _write(self, entries: dict[str, CatalogEntry]) -> None:
        data = {"version": 1, "collections": [attrs.asdict(e) for e in entries.values()]}
        with replacing(self._file) as stream:
            stream.write(orjson.dumps(data, option=orjson.OPT_INDENT_2))
