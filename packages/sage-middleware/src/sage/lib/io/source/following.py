"""Files of one name that are still being written, one after another.

Predecessor: the operating system; successor: ``sage.lib.io.source.records``, which makes records of
the lines.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

import attrs

from sage.common.errors import ConfigError
from sage.lib.errors import InputFileError

_logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Place:
    """How far a file was read, and enough to know it again.

    Attributes:
        inode: Number of the file; a file that replaces it has another one.
        end: Bytes up to the end of the last line that was read.
        last_size: Bytes of that line.
        last_digest: BLAKE2b of that line, since the number of a deleted file is given out again.
        before: Lines of the files before it.
        lines: Lines up to ``end``, with those of the files before it.
    """

    inode: int
    end: int
    last_size: int
    last_digest: str
    before: int
    lines: int

    @classmethod
    def before_all(cls, path: Path) -> Self | None:
        """The beginning of the file that has the name now; ``None`` when there is none."""
        try:
            inode = path.stat().st_ino
        except OSError:
            return None
        return cls(inode=inode, end=0, last_size=0, last_digest=_digest(b""), before=0, lines=0)

    def is_in(self, file: BinaryIO) -> bool:
        """Whether an open file is the one that was read."""
        if os.fstat(file.fileno()).st_ino != self.inode:
            return False
        last = os.pread(file.fileno(), self.last_size, self.end - self.last_size)
        return len(last) == self.last_size and _digest(last) == self.last_digest


class FollowedFile:
    """One of the files; its lines must be read before the next file is asked for.

    Attributes:
        before: Lines of the files before it.
        known: Bytes at its beginning that were read in an earlier run.
        end: Bytes up to the end of the line that was read last.
        lines: Lines up to there, with those of the files before it.
    """

    def __init__(self, file: BinaryIO, raw: Iterator[bytes], *, before: int, known: int) -> None:
        self.before = self.lines = before
        self.known = known
        self.end = 0
        self._inode = os.fstat(file.fileno()).st_ino
        self._raw = raw
        self._last = b""

    def read(self, codec: str) -> Iterator[str]:
        """Yield its lines as they are written; bytes invalid in ``codec`` become surrogates."""
        for line in self._raw:
            self.end += len(line)
            self.lines += 1
            self._last = line
            # Decoded line by line: a character may be half written when it is read.
            yield line.decode(codec, "surrogateescape")

    def place(self) -> Place:
        """Where to go on after the line that was read last."""
        return Place(
            inode=self._inode,
            end=self.end,
            last_size=len(self._last),
            last_digest=_digest(self._last),
            before=self.before,
            lines=self.lines,
        )


def follow_files(
    path: Path, codec: str, *, after: Place | None, stopping: Callable[[], bool], interval: float
) -> Iterator[FollowedFile]:
    """Yield the file of a name, and each one that replaces it, until ``stopping()``.

    A file that is replaced by another of its name (rotated) is read to its end, then the other one
    from its beginning, and so is a file that was cut. A file that is not there yet, or no longer,
    is waited for. A line counts when its end is there.

    After ``after`` the file that was read then comes first, also when it has another name in the
    same folder by now. A file that came and was replaced in between is not looked for.

    Args:
        path: The name.
        codec: The encoding of the lines.
        after: Where an earlier run stopped.
        stopping: Asked at least every ``interval``.
        interval: Seconds between two looks at a file that has nothing new.

    Raises:
        InputFileError: A file cannot be read.
        ConfigError: Lines cannot be told in that encoding.
    """
    if "\n".encode(codec.removesuffix("-sig")) != b"\n":
        raise ConfigError(f"following a file needs an encoding that extends ASCII, got {codec!r}")
    pause = threading.Event().wait
    before = known = 0
    file: BinaryIO | None = None
    if after is not None:
        file = _find(path, after)
        before, known = (after.lines, 0) if file is None else (after.before, after.end)
        if file is None:
            _logger.warning(
                "%r is not the file that was read up to byte %d before the restart, and its folder "
                "has that under no other name: going on at the beginning of the new file; lines at "
                "the end of the old one may be missing",
                str(path),
                after.end,
            )
    quiet = False
    while not stopping():
        if file is None:
            try:
                file = path.open("rb")
            except FileNotFoundError:
                if not quiet:
                    _logger.warning("waiting for %r, which does not exist", str(path.absolute()))
                quiet = True
                pause(interval)
                continue
            except OSError as error:
                raise _unreadable(path, error) from error
        quiet = True  # a gap between two files is no mistake in the name
        with file:
            lines = _until_replaced(file, path, stopping, lambda: pause(interval))
            followed = FollowedFile(file, lines, before=before, known=known)
            yield followed
        before, known, file = followed.lines, 0, None


def _find(path: Path, place: Place) -> BinaryIO | None:
    """The file that was read, open, whatever its name in the folder is now."""
    try:
        with os.scandir(path.parent) as entries:
            named = [Path(each.path) for each in entries if each.inode() == place.inode]
        for each in (path, *named):
            if each.exists():
                file = each.open("rb")
                if place.is_in(file):
                    return file
                file.close()
    except FileNotFoundError:
        return None  # the folder itself
    except OSError as error:
        raise _unreadable(path, error) from error
    return None


def _unreadable(path: Path, error: OSError) -> InputFileError:
    return InputFileError(f"cannot read {str(path)!r}: {error.strerror}", path=str(path), line=None)


def _digest(line: bytes) -> str:
    return hashlib.blake2b(line, digest_size=16).hexdigest()


def _until_replaced(
    file: BinaryIO, path: Path, stopping: Callable[[], bool], wait: Callable[[], object]
) -> Iterator[bytes]:
    begun = b""
    while True:
        begun += file.readline()
        if begun.endswith(b"\n"):
            yield begun
            begun = b""
        elif stopping():
            return
        elif _replaced(file, path):
            # What was written to the old file between the two looks.
            yield from io.BytesIO(begun + file.read())
            return
        else:
            wait()


def _replaced(file: BinaryIO, path: Path) -> bool:
    opened = os.fstat(file.fileno())
    try:
        named = path.stat()
    except FileNotFoundError:
        return False  # between the two steps of a rotation
    if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
        return True
    return named.st_size < file.tell()
