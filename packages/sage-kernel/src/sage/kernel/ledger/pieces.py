"""The file of payloads: appended, never changed, one piece after the other without gaps.

Where a piece is says the ledger's database; bytes that it does not name were written by a process
that died before its transaction was committed. Blobs inside of the database would leave a third of
its pages empty and be written twice.

Predecessor: ``sage.kernel.ledger.payloads``; successor: ``sage.kernel.ledger.places``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class PieceFile:
    """The payloads beside a ledger's database.

    Args:
        path: The file; made if it is missing, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)

    def append(self, pieces: Iterable[bytes]) -> int:
        """Write pieces behind each other; the offset of the first one.

        Whoever calls holds the write lock of the database: nobody else appends meanwhile.
        """
        start = os.lseek(self._file, 0, os.SEEK_END)
        data = memoryview(b"".join(pieces))
        while data:
            data = data[os.write(self._file, data) :]
        return start

    def sync(self) -> None:
        """Return when what was appended survives a power failure."""
        os.fdatasync(self._file)

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``; fewer where the file ends."""
        return os.pread(self._file, size, offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
