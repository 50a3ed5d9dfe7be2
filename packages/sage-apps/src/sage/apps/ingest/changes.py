"""What differs between a directory and a collection.

The collection itself is the memory: every passage has the ``source`` it was cut from and the
``content_hash`` of that file together with the settings it was cut with. So nothing can get out of
step: a run that was killed, or a file that could not be read, is simply done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from sage.common.errors import ConfigError
from sage.lib.io.source import DirectorySource, FileChange
from sage.lib.transform.parser.operator import SUFFIXES
from sage.middleware.services.memory.memory_manager import MemoryManager

SOURCE, HASH = "source", "content_hash"
PATTERNS = tuple(f"**/*{suffix}" for suffix in SUFFIXES if suffix != ".log")
"""Files that are taken when nothing else is said."""


@attrs.frozen(kw_only=True)
class Changes:
    """What is to be done.

    Attributes:
        write: Files that are new or changed.
        remove: Files whose passages are to be deleted.
        unchanged: Files that are left alone.
    """

    write: tuple[FileChange, ...]
    remove: tuple[FileChange, ...]
    unchanged: int

    def count(self, change: str) -> int:
        """How many files are ``added``, ``changed`` or ``removed``."""
        return sum(each.change == change for each in (*self.write, *self.remove))


def known_files(data_dir: Path | None, collection: str) -> dict[str, set[str]]:
    """The hashes under which each file is in the collection; more than one after a crash."""
    known: dict[str, set[str]] = {}
    with MemoryManager(data_dir) as manager:
        if not manager.has_collection(collection):
            return known
        for row in manager.connect_collection(collection).scan({HASH: {"$exists": True}}):
            metadata = row["metadata"]
            known.setdefault(str(metadata.get(SOURCE)), set()).add(str(metadata[HASH]))
    return known


def find_changes(
    folder: Path,
    known: Mapping[str, Iterable[str]],
    *,
    patterns: Iterable[str],
    exclude: Iterable[str] = (),
    settings: str = "",
    replace: bool = False,
) -> Changes:
    """Compare a directory with what is known of it, by content.

    Args:
        folder: The directory.
        known: Hashes by file, see ``known_files``.
        patterns, exclude: Globs below the directory.
        settings: What else decides the passages of a file.
        replace: Accept a directory that has none of the known files.

    Raises:
        InputFileError: The directory or a file cannot be read.
        ConfigError: Nothing matches, or the collection is that of another directory.
    """
    source = DirectorySource(
        {"path": str(folder), "pattern": list(patterns), "exclude": tuple(exclude)}
    )
    found = {each.id: attrs.evolve(each, hash=_mixed(each.hash, settings)) for each in source.run()}
    if not found and not known:
        raise ConfigError(f"{str(folder)!r}: no file matches {', '.join(patterns)}")
    gone = sorted(known.keys() - found.keys())
    if known and len(gone) == len(known) and not replace:
        raise ConfigError(
            f"none of the {len(known)} files in the collection (such as {gone[0]!r}) is in "
            f"{str(folder)!r}, so all of its passages would be deleted; choose another "
            "--collection, or say --replace if that is meant"
        )
    write = tuple(
        attrs.evolve(each, change="changed" if each.id in known else "added")
        for each in found.values()
        if set(known.get(each.id, ())) != {each.hash}
    )
    remove = tuple(FileChange(id=name, path="", change="removed") for name in gone)
    return Changes(write=write, remove=remove, unchanged=len(found) - len(write))


def _mixed(digest: str, settings: str) -> str:
    mixed = f"{digest}\0{settings}".encode()
    return hashlib.blake2b(mixed, digest_size=12).hexdigest()
