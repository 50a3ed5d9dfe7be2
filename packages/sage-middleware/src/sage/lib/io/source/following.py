"""Lines of a file that is still being written.

Predecessor: the operating system; successor: ``sage.lib.io.source.records``, which makes records of
the lines.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from sage.common.errors import ConfigError
from sage.lib.errors import InputFileError


def follow_lines(
    path: Path, codec: str, *, stopping: Callable[[], bool], interval: float
) -> Iterator[str]:
    """Yield whole lines as they are written, until ``stopping()``.

    A file that is replaced by another of its name (rotated) or cut is read from its beginning; a
    file that is not there yet, or no longer, is waited for. A line counts when its end is there.

    Args:
        path: The file.
        codec: Its encoding; bytes that are not valid in it become lone surrogates.
        stopping: Asked at least every ``interval``.
        interval: Seconds between two looks at a file that has nothing new.

    Raises:
        InputFileError: The file cannot be read.
        ConfigError: Lines cannot be told in that encoding.
    """
    wait = threading.Event().wait
    # Bytes are decoded line by line: a character may be half written when it is read.
    if "\n".encode(codec.removesuffix("-sig")) != b"\n":
        raise ConfigError(f"following a file needs an encoding that extends ASCII, got {codec!r}")
    wait = threading.Event().wait
    while not stopping():
        try:
            with path.open("rb") as file:
                for line in _until_replaced(file, path, stopping, lambda: wait(interval)):
                    yield line.decode(codec, "surrogateescape")
        except FileNotFoundError:
            wait(interval)
        except OSError as error:
            raise InputFileError(
                f"cannot read {str(path)!r}: {error.strerror}", path=str(path), line=None
            ) from error


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
            begun += file.read()
            yield from begun.splitlines(keepends=True)
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
