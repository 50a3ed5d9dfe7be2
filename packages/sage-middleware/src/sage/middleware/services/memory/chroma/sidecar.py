"""What our contract knows of a collection and chromadb does not: settings and indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from sage.common.paths import replacing
from sage.middleware.services.memory.errors import CollectionDamagedError

_FILE = "chroma.json"


class Sidecar:
    """A JSON mapping in the collection's directory, replaced as a whole at every change."""

    def __init__(self, path: Path) -> None:
        self._file = path / _FILE

    def read(self) -> dict[str, Any]:
        """The mapping.

        Raises:
            CollectionDamagedError: The file is missing or not JSON.
        """
        try:
            data: dict[str, Any] = orjson.loads(self._file.read_bytes())
        except (OSError, orjson.JSONDecodeError) as exc:
            raise CollectionDamagedError(
                f"{str(self._file)!r} cannot be read: {exc}", path=str(self._file)
            ) from exc
        return data

    def write(self, data: dict[str, Any]) -> None:
        """Replace the mapping."""
        with replacing(self._file) as stream:
            stream.write(orjson.dumps(data))
