"""A number that changes with every commit, in memory that all processes share.

Asking SQLite whether anyone has committed takes two system calls, more than a short walk over a
graph takes. This costs one look at mapped memory.

The file holds two numbers: the last commit begun, and the last one done. A writer sets the first
while it holds SQLite's write lock, before it commits, and the second afterwards. While they are
equal nobody is between the two, so everything up to that number can be read, and a reader that
has read it is current until the number changes. A writer that is killed in between leaves them
unequal: then readers ask the database, until the next commit makes them equal again.

It notices the commits of ``Database``, not of other programs that write to the file.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

_BYTES = 16
_BEGUN, _DONE = 0, 1


class CommitMark:
    """The two numbers of one database.

    Args:
        path: The file that is mapped; made if it is not there. Losing it costs nothing.
    """

    def __init__(self, path: Path) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(file).st_size < _BYTES:
                os.ftruncate(file, _BYTES)
            self._map = mmap.mmap(file, _BYTES)
        finally:
            os.close(file)
        self._cells = memoryview(self._map).cast("Q")

    def begin(self) -> int:
        """Called before a commit, with the write lock held; the number of the commit."""
        number = self._cells[_BEGUN] + 1
        self._cells[_BEGUN] = number
        return number

    def end(self, number: int) -> None:
        """Called after the commit of that number."""
        self._cells[_DONE] = number

    def last(self) -> int | None:
        """The last commit, ``None`` while one is under way. Ask before you read the database."""
        number = self._cells[_BEGUN]
        return number if number == self._cells[_DONE] else None

    def close(self) -> None:
        """Release the memory."""
        self._cells.release()
        self._map.close()
