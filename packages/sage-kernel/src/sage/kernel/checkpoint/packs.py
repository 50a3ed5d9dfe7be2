"""Packs: files that hold the bytes of parts one after the other, and a checkpoint that reads them.

A pack is written once and never changed. Predecessor: ``sage.kernel.checkpoint.manifest``;
successor: ``sage.kernel.checkpoint.store``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from sage.kernel.checkpoint.errors import CheckpointError
from sage.kernel.checkpoint.manifest import Blob, Manifest, content_hash

MAGIC: Final = b"SAGE pack 1\n"


def write_file(path: Path, chunks: Iterable[bytes], *, sync: bool) -> None:
    """Write a new file; it is gone again if that fails.

    Args:
        path: The file; must not exist.
        chunks: Its content.
        sync: Whether it must survive a loss of power.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - an open handle
            file.writelines(chunks)
            file.flush()
            if sync:
                os.fsync(handle)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def lay_out(lengths: Mapping[str, int], pack: str) -> tuple[dict[str, Blob], int]:
    """Where in a pack each blob goes, by hash, and the size of the pack.

    Its content is ``MAGIC``, then the blobs in the order given.
    """
    placed = {}
    offset = len(MAGIC)
    for hash_, length in lengths.items():
        placed[hash_] = Blob(hash_, pack, offset, length)
        offset += length
    return placed, offset


class Pin:
    """Lives as long as somebody may read from some packs, so that they are not removed."""

    def __init__(self, packs: Iterable[str]) -> None:
        self.packs = frozenset(packs)


class Checkpoint:
    """A checkpoint or savepoint that was found sound.

    Attributes:
        id: Its number.
        facts: As given when it was written.
        parts: Bytes by name; each is read, and checked again, when it is asked for.
        manifest: The whole of its manifest.
    """

    def __init__(self, folder: Path, manifest: Manifest, pin: Pin | None = None) -> None:
        self.id: int = manifest.id
        self.facts: Mapping[str, Any] = manifest.facts
        self.parts: Mapping[str, bytes] = _Parts(folder, manifest.parts, pin)
        self.manifest = manifest


class _Parts(Mapping[str, bytes]):
    def __init__(self, folder: Path, blobs: Mapping[str, Blob], pin: Pin | None) -> None:
        self._folder = folder
        self._pin = pin
        self._blobs = blobs

    def __getitem__(self, name: str) -> bytes:
        blob = self._blobs[name]
        path = self._folder / blob.pack
        try:
            with path.open("rb") as file:
                file.seek(blob.offset)
                data = file.read(blob.length)
        except OSError as exc:
            raise CheckpointError(
                f"part {name!r} cannot be read from {str(path)!r}: {exc.strerror}", file=str(path)
            ) from exc
        if content_hash(data) != blob.hash:
            raise _damaged(path, name, blob)
        return data

    def __iter__(self) -> Iterator[str]:
        return iter(self._blobs)

    def __len__(self) -> int:
        return len(self._blobs)

    def __contains__(self, name: object) -> bool:
        return name in self._blobs


def verify(folder: Path, manifest: Manifest) -> None:
    """Read all that a manifest refers to.

    Raises:
        CheckpointError: A file is not there, or not as it was written.
    """
    by_pack: dict[str, dict[Blob, str]] = {pack: {} for pack in manifest.packs}
    for name, blob in manifest.parts.items():
        by_pack[blob.pack][blob] = name
    for pack, blobs in by_pack.items():
        path = folder / pack
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != manifest.packs[pack]:
                    raise CheckpointError(
                        f"{str(path)!r} has {size} bytes, and {manifest.packs[pack]} were written",
                        file=str(path),
                    )
                if file.read(len(MAGIC)) != MAGIC:
                    raise CheckpointError(f"{str(path)!r} is not a pack of parts", file=str(path))
                for blob in sorted(blobs, key=attrgetter("offset")):
                    file.seek(blob.offset)
                    if content_hash(file.read(blob.length)) != blob.hash:
                        raise _damaged(path, blobs[blob], blob)
        except OSError as exc:
            raise CheckpointError(
                f"{str(path)!r} cannot be read: {exc.strerror}", file=str(path)
            ) from exc


def _damaged(path: Path, name: str, blob: Blob) -> CheckpointError:
    return CheckpointError(
        f"{str(path)!r} is damaged: the {blob.length} bytes of part {name!r} at {blob.offset} are "
        "not those that were written",
        file=str(path),
    )
