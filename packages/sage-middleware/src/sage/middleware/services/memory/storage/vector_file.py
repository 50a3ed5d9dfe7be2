"""Append-only file of float32 vectors: row ``i`` of the file belongs to slot ``i``.

A writer puts the bytes here before the commit that names their slots. Bytes behind the last
committed slot are remains of a writer that died: they are ignored, overwritten and cut.
"""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage.middleware.services.memory.errors import CollectionDamagedError

FloatArray = npt.NDArray[np.float32]
_GROW_BYTES = 1024 * 1024


class VectorFile:
    """The vectors of one collection.

    Args:
        path: The file.
        dim: Elements of a vector.
        create: Whether the file may be missing.

    Raises:
        FileNotFoundError: It is missing.
    """

    def __init__(self, path: Path, dim: int, *, create: bool = False) -> None:
        self.path = path
        self.dim = dim
        self._stride = 4 * dim
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | (os.O_CREAT if create else 0)
        self._fd = os.open(path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._rows: FloatArray = np.empty((0, dim), np.float32)
        self._lock = threading.Lock()
        self._dirty = False

    def write(self, slot: int, vectors: FloatArray) -> None:
        """Put ``(n, dim)`` vectors at ``slot``; the caller holds the collection's write lock."""
        data = np.ascontiguousarray(vectors, np.float32).data.cast("B")
        offset = slot * self._stride
        self._reserve(offset + len(data))
        self._dirty = True
        while data:
            written = os.pwrite(self._fd, data, offset)
            offset += written
            data = data[written:]

    def _reserve(self, size: int) -> None:
        # Growing in steps keeps a reader's map valid over many one-row writes.
        if size > self._size:
            size = max(size, min(2 * self._size, size + _GROW_BYTES))
            os.ftruncate(self._fd, size)
            self._size = size

    def rows(self, count: int) -> FloatArray:
        """The first ``count`` vectors, ``(count, dim)`` float32, read only, not copied.

        Raises:
            CollectionDamagedError: The file is shorter.
        """
        found = self._rows
        if len(found) < count:
            found = self._map(count)
        return found[:count]

    def _map(self, count: int) -> FloatArray:
        with self._lock:
            if len(self._rows) < count:
                size = os.fstat(self._fd).st_size
                if size < count * self._stride:
                    raise CollectionDamagedError(
                        f"{str(self.path)!r} holds {size // self._stride} vectors of {self.dim} "
                        f"elements, the database names {count}: vectors were lost (power failure "
                        "at durability 'process' or 'none', or a deleted file); "
                        "repair() embeds those rows again",
                        path=str(self.path),
                        found=size // self._stride,
                        expected=count,
                    )
                view = mmap.mmap(self._fd, size, access=mmap.ACCESS_READ)
                whole = size // self._stride
                array = np.frombuffer(view, np.float32, count=whole * self.dim)
                self._rows = array.reshape(whole, self.dim)
            return self._rows

    def count(self) -> int:
        """Whole vectors the file has room for, committed or not."""
        return os.fstat(self._fd).st_size // self._stride

    def size_bytes(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._fd).st_size

    def cut(self, count: int) -> int:
        """Cut everything behind the first ``count`` vectors; returns the bytes cut.

        The caller holds the collection's write lock.
        """
        extra = os.fstat(self._fd).st_size - count * self._stride
        if extra > 0:
            os.ftruncate(self._fd, count * self._stride)
            self._size = count * self._stride
            with self._lock:
                self._rows = self._rows[:count]
        return max(0, extra)

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        self._dirty = False
        getattr(os, "fdatasync", os.fsync)(self._fd)

    def sync_if_written(self) -> None:
        """``sync``, unless nothing was written since the last one."""
        if self._dirty:
            self.sync()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; maps that results still use stay valid."""
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)
            self._fd = -1
            self._rows = self._rows[:0]
