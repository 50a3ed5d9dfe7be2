"""Reading rotated logs: the last lines, and what is appended meanwhile.

``job.log`` is the newest part, ``job.log.1`` the one before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sage.common.secrets import redact

_BLOCK = 64 * 1024


def read_lines(path: Path, tail: int | None = None) -> list[str]:
    """Lines of a log and of its old parts, oldest first; ``tail``: only the last so many."""
    try:
        with path.open("rb") as file:
            return _lines(path, file, file.seek(0, os.SEEK_END), tail)
    except FileNotFoundError:
        return []


class LogFollower:
    """Gives what is appended to a log, also across rotations.

    Args:
        path: The log; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._left = b""

    def start(self, tail: int | None) -> list[str]:
        """The lines so far (``tail``: only the last so many); later ones come from ``more``."""
        self._open()
        if self._file is None:
            return []
        # From here on it is read by ``more``: what is appended meanwhile, and the rest of a line.
        end = _end_of_lines(self._file)
        lines = _lines(self._path, self._file, end, tail)
        self._file.seek(end)
        return lines

    def more(self, *, last: bool = False) -> list[str]:
        """Whole lines that were appended since.

        Args:
            last: Nothing will follow: an incomplete line counts.
        """
        lines = list(self._rest())
        if last and self._left:
            lines += _text([self._left])
            self._left = b""
        return lines

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _rest(self) -> Iterator[str]:
        if self._file is None:
            self._open()
        while self._file is not None:
            yield from self._appended(self._file)
            try:
                newest = self._path.stat()
            except FileNotFoundError:
                return
            if newest.st_ino == os.fstat(self._file.fileno()).st_ino:
                return
            # It was rotated: what was written between the read and the rename is read first.
            yield from self._appended(self._file)
            self._file.close()
            self._open()

    def _appended(self, file: BinaryIO) -> Iterator[str]:
        while block := file.read(_BLOCK):
            *whole, self._left = (self._left + block).split(b"\n")
            yield from _text(whole)

    def _open(self) -> None:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            self._file = None


def _lines(path: Path, newest: BinaryIO, end: int, tail: int | None) -> list[str]:
    """The last lines of a log up to ``end`` of an open part of it, oldest first."""
    found = _last_lines(newest, end, tail)
    older = False
    for part in _parts(path):
        left = None if tail is None else tail - len(found)
        if left is not None and left <= 0:
            break
        with part.open("rb") as file:
            if older:
                found[:0] = _last_lines(file, file.seek(0, os.SEEK_END), left)
            older = older or os.path.sameopenfile(file.fileno(), newest.fileno())
    return _text(found)


def _parts(path: Path) -> Iterator[Path]:
    """The parts that exist, newest first."""
    number = 0
    part = path
    while part.exists():
        yield part
        number += 1
        part = path.with_name(f"{path.name}.{number}")


def _last_lines(file: BinaryIO, end: int, count: int | None) -> list[bytes]:
    """The last ``count`` lines of the first ``end`` bytes."""
    at = end
    data = b""
    while at > 0 and (count is None or data.count(b"\n") <= count):
        step = min(_BLOCK, at)
        at = file.seek(at - step)
        data = file.read(step) + data
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines if count is None else lines[max(0, len(lines) - max(0, count)) :]


def _end_of_lines(file: BinaryIO) -> int:
    """Where the last whole line ends."""
    at = file.seek(0, os.SEEK_END)
    while at > 0:
        step = min(_BLOCK, at)
        at = file.seek(at - step)
        newline = file.read(step).rfind(b"\n")
        if newline >= 0:
            return at + newline + 1
    return 0


def _text(lines: list[bytes]) -> list[str]:
    return [redact(line.decode("utf-8", "replace")) for line in lines]
