"""The journal of a ledger: what was called and answered, in the order in which it was committed.

A group of rows and the payloads that are new with them is one frame, appended by one ``write``:
with it the group is committed. The tables of the database are made from it, see
``sage.kernel.ledger.index``; payloads are read from here for good. Processes may append to one
journal at the same time. What a process left unfinished is no frame, and is skipped.

Predecessor: ``sage.kernel.ledger.payloads``; successor: ``sage.kernel.ledger.writer``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from operator import index
from pathlib import Path
from struct import Struct
from types import NoneType
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec

from sage.kernel.ledger.errors import LedgerError

Row = Sequence[Any]
"""See ``schema.INSERTS``."""
Rows = dict[str, list[Row]]
"""Rows by table."""
Blob = tuple[bytes, bytes]
"""``(digest, payload)``."""
Packed = dict[str, list[msgspec.Raw]]
"""Rows by table, each from ``pack_row``."""

MARK_SIZE: Final = 8
WINDOW: Final = 2**16
"""Bytes that are read at a time."""

_HEADER: Final = Struct(f">{MARK_SIZE}sIII")
"""Mark of the journal, bytes of the rows, bytes of the payloads, checksum of the rows. After these
comes the same again: what begins another frame ends none."""
_KEPT: Final = frozenset((str, bytes, int, float, NoneType))
_LARGEST: Final = 2**63 - 1
"""SQLite's largest integer."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[Rows, list[tuple[bytes, int]]]).decode


def pack_row(row: Row) -> msgspec.Raw:
    """A row as the journal has it.

    Raises:
        LedgerError: A value is none that a table can keep.
    """
    try:
        for value in row:
            kind = type(value)
            if kind not in _KEPT:
                return pack_row([_plain(value) for value in row])
            if kind is int and not -_LARGEST <= value <= _LARGEST:
                raise OverflowError("an integer has more than 63 bits")
        return msgspec.Raw(_encode(row))
    except (TypeError, ValueError, OverflowError) as error:
        raise LedgerError(f"the ledger cannot keep {row!r:.500}: {error}") from error


def _plain(value: Any) -> Any:
    """An enum, or a number of numpy's, as what it stands for."""
    if type(value) in _KEPT:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    return float(value) if isinstance(value, float) else index(value)


class Frame(NamedTuple):
    """One committed group.

    Attributes:
        rows: Rows by table.
        places: Digest, offset in the journal, and bytes of the payloads that came with them.
        end: Offset of what comes after it.
    """

    rows: Rows
    places: list[tuple[bytes, int, int]]
    end: int


class Journal:
    """Appends frames and reads them.

    Args:
        path: The file; made if it is missing, readable by its owner only.
        mark: What frames begin with: bytes that no payload can have been made to contain.
    """

    def __init__(self, path: Path, mark: bytes) -> None:
        self.path = path
        self._mark = mark
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file).st_size

    def append(self, rows: Packed, blobs: Sequence[Blob]) -> None:
        """Commit a group: it survives the death of the process when this returns.

        Raises:
            OSError: The disk is full, or broken.
        """
        meta = _encode((rows, [(digest, len(data)) for digest, data in blobs]))
        payloads = [data for _, data in blobs]  # which their digests check
        header = _HEADER.pack(self._mark, len(meta), sum(map(len, payloads)), crc32(meta))
        frame = b"".join([header, meta, *payloads, header])
        written = os.write(self._file, frame)
        if written != len(frame):
            raise OSError(f"only {written} of {len(frame)} bytes could be written")

    def sync(self) -> None:
        """Return when what was appended survives a loss of power."""
        os.fdatasync(self._file)

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``; fewer where the file ends."""
        return os.pread(self._file, size, offset)

    def frames(self, start: int) -> Iterator[Frame]:
        """Whole frames from ``start`` on.

        What is no frame is skipped if one comes after it; at the end it may be one that is being
        written.
        """
        size, head = self.size, _HEADER.size
        window = bytearray(WINDOW)
        at, there = start, 0  # where in the file the window is, and its bytes that are filled
        while start + head <= size:
            if start + head > at + there:
                at, there = start, os.preadv(self._file, [window], start)
            mark, meta_size, data_size, checksum = _HEADER.unpack_from(window, start - at)
            body = start + head
            last = body + meta_size + data_size
            if mark == self._mark and last + head <= size:
                if last + head > at + there:
                    if head + meta_size > len(window):
                        window = bytearray(head + meta_size)
                    at, there = start, os.preadv(self._file, [window], start)
                end: bytes | bytearray = window[last - at : last - at + head]
                if last + head > at + there:  # it is longer than what is read at a time
                    end = self.read(last, head)
                meta = window[body - at : body - at + meta_size]
                if end == window[start - at : body - at] and crc32(meta) == checksum:
                    rows, sizes = _decode(meta)
                    places, place = [], body + meta_size
                    for digest, length in sizes:
                        places.append((digest, place, length))
                        place += length
                    start = last + head
                    yield Frame(rows, places, start)
                    continue
            found = self._next_mark(start + 1, size)
            if found is None:
                return
            start = found

    def _next_mark(self, start: int, size: int) -> int | None:
        while start < size:
            found = self.read(start, WINDOW).find(self._mark)
            if found >= 0:
                return start + found
            start += WINDOW - MARK_SIZE + 1
        return None

    def share(self) -> None:
        """Use it together with others; waits while it is written anew."""
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def own(self) -> bool:
        """Use it alone from now on; false when others use it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
