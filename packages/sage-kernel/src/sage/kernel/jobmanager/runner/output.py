"""The output of a job's process: one log, secrets masked, rotated without losing a byte.

The process writes to the file itself, so that what native code prints and the last words before a
``kill -9`` are there too. To rotate, the file is renamed and a new one takes the place of the
descriptors 1 and 2; child processes that inherited the old ones finish writing there.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import threading
from pathlib import Path
from typing import Any

from sage.common.secrets import redact


class Output:
    """Sends the descriptors 1 and 2 to a log.

    Args:
        path: The log.
        max_bytes: Size at which it is rotated, checked by ``rotate_if_large``.
        keep: Old files that are kept: ``job.log.1`` (the newest) to ``job.log.KEEP``.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep

    def start(self) -> None:
        """Take over both descriptors, and ``sys.stdout`` and ``sys.stderr``."""
        self._open()
        sys.stdout = MaskedText(1)
        sys.stderr = MaskedText(2)

    def rotate_if_large(self) -> None:
        """Begin a new file when this one is full."""
        if os.fstat(1).st_size < self._max_bytes:
            return
        for number in range(self._keep, 1, -1):
            older = numbered(self._path, number - 1)
            if older.exists():
                older.replace(numbered(self._path, number))
        self._path.replace(numbered(self._path, 1))
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        handle = os.open(self._path, flags, 0o600)
        os.dup2(handle, 1)  # dup2 makes the copies inheritable
        os.dup2(handle, 2)
        os.close(handle)


def numbered(path: Path, number: int) -> Path:
    """The name of an old log file."""
    return path.with_name(f"{path.name}.{number}")


class MaskedText(io.TextIOBase):
    """Text to a descriptor, whole lines at a time, secrets masked."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._lock = threading.RLock()
        self._left = ""
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        """Keep the text until its line is complete."""
        with self._lock:
            whole, newline, self._left = (self._left + text).rpartition("\n")
            if newline:
                self._put(whole + newline)
        return len(text)

    def flush(self) -> None:
        """Write an incomplete line too."""
        with self._lock:
            left, self._left = self._left, ""
            if left:
                self._put(left)

    def fileno(self) -> int:
        return self._handle

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def _put(self, text: str) -> None:
        data = redact(text).encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._handle, data) :]


class _Bytes(io.RawIOBase):
    """``sys.stdout.buffer`` of programs that write bytes, a character perhaps in two parts."""

    def __init__(self, text: MaskedText) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: Any) -> int:
        whole = bytes(data)
        self._text.write(self._decoder.decode(whole))
        return len(whole)

    def flush(self) -> None:
        self._text.flush()

    def writable(self) -> bool:
        return True
