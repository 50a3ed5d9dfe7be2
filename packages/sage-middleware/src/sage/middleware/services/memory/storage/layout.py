"""Where a collection lies on disk, and which names are allowed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from sage.middleware.services.memory.errors import CollectionNameError

DATABASE_FILE = "collection.db"
KIND_FILE = "collection.json"
_NAME = re.compile(r"\w[\w.\-]{0,127}")


def check_name(name: str) -> str:
    """The name, if it can be a collection's name and a directory's.

    Raises:
        CollectionNameError: Empty, longer than 128 characters, or with other characters than
            letters, digits, ``_``, ``-`` and ``.``, or starting with ``.`` or ``-``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith("."):
        raise CollectionNameError(
            f"{name!r} cannot name a collection: use 1 to 128 letters, digits, '_', '-' or '.', "
            "starting with a letter, a digit or '_'",
            name=name,
        )
    return name


def collection_dir(data_dir: str | os.PathLike[str], name: str) -> Path:
    """The directory of the collection ``name`` below ``data_dir``."""
    root = Path(data_dir).resolve()
    path = (root / check_name(name)).resolve()
    if not path.is_relative_to(root):  # a link that leads elsewhere
        raise CollectionNameError(f"{name!r} leads out of {str(root)!r}", name=name)
    return path


def has_collection(path: Path) -> bool:
    """Whether ``path`` is the directory of a collection."""
    return (path / DATABASE_FILE).is_file() or (path / KIND_FILE).is_file()


def remove_collection(path: Path) -> bool:
    """Delete a collection's directory; whether there was one.

    The database goes first: who has it open then sees at the next write that it is gone.
    """
    if not path.exists():
        return False
    for suffix in ("", "-wal", "-shm"):
        (path / f"{DATABASE_FILE}{suffix}").unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=False)
    return True
