"""Texts with their slots on disk, for engines that are built anew from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sage.middleware.search.bm25.snapshot import SnapshotError

_FILE = "texts.json"


def write_texts(folder: Path, options: Mapping[str, Any], texts: Mapping[int, str]) -> None:
    """Replaces the file in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{_FILE}.part"
    part.write_bytes(msgspec.json.encode({"options": options, "texts": list(texts.items())}))
    part.replace(folder / _FILE)


def read_texts(folder: Path) -> tuple[dict[str, Any], dict[int, str]]:
    """Options and texts.

    Raises:
        SnapshotError: Missing or damaged.
    """
    try:
        found = msgspec.json.decode((folder / _FILE).read_bytes())
        return dict(found["options"]), {int(slot): str(text) for slot, text in found["texts"]}
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, ValueError) as exc:
        raise SnapshotError(f"no texts in {str(folder)!r}: {exc}") from exc
