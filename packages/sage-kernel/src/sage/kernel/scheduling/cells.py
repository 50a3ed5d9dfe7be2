"""Where a bucket lives: in this process, or in a small file that processes share.

The file has a fixed size and is written in one piece under ``flock``, which the system lets go of
when its holder dies: whatever is killed whenever, the next one finds a whole bucket. What a killed
process had reserved is spent.

Predecessor: ``sage.kernel.scheduling.bucket``; successor: ``sage.kernel.scheduling.limiter``.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from sage.common.errors import ConfigError
from sage.kernel.scheduling.bucket import Bucket

_HEAD: Final = struct.Struct("<8s128sI")
_MAGIC: Final = b"sagelim1"


class Cell(Protocol):
    """Holds one bucket.

    Attributes:
        clock: The clock of its times, seconds.
        shared: Whether other processes may change it meanwhile.
    """

    clock: Callable[[], float]
    shared: bool

    def open(self) -> AbstractContextManager[Bucket]:
        """The bucket, for nobody else while the block runs; kept as the block leaves it."""

    def look(self) -> AbstractContextManager[Bucket]:
        """The bucket, to read: what the block does to it may be lost."""


class MemoryCell:
    """A bucket of this process."""

    clock = staticmethod(time.monotonic)
    shared = False

    def __init__(self) -> None:
        self._bucket = Bucket()
        self._lock = threading.Lock()

    @contextmanager
    def open(self) -> Iterator[Bucket]:
        """See ``Cell``."""
        with self._lock:
            yield self._bucket

    def look(self) -> AbstractContextManager[Bucket]:
        """See ``Cell``."""
        return self.open()


class FileCell:
    """A bucket in a file, which only ``open`` writes.

    Its clock is the wall clock, which all processes and boots share.

    Args:
        path: The file; made if needed, readable by its owner only.
        label: What it is about, for people who look into it (at most 128 bytes are kept).

    Raises:
        ConfigError: The file cannot be made or opened.
    """

    clock = staticmethod(time.time)
    shared = True

    def __init__(self, path: Path, label: str) -> None:
        self._path = path
        self._label = label.encode()[:128]
        self._lock = threading.Lock()
        self._handle = -1
        self._process = 0
        with self.open():
            pass

    @contextmanager
    def open(self) -> Iterator[Bucket]:
        """See ``Cell``. A file with other content (of another version) is begun anew."""
        with self._locked(fcntl.LOCK_EX) as handle:
            bucket = self._read(handle)
            yield bucket
            body = bucket.pack()
            head = _HEAD.pack(_MAGIC, self._label, zlib.crc32(body))
            os.pwrite(handle, head + body, 0)

    @contextmanager
    def look(self) -> Iterator[Bucket]:
        """See ``Cell``."""
        with self._locked(fcntl.LOCK_SH) as handle:
            bucket = self._read(handle)
        yield bucket

    @contextmanager
    def _locked(self, how: int) -> Iterator[int]:
        with self._lock:
            handle = self._open_file()
            fcntl.flock(handle, how)
            try:
                yield handle
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)

    def _open_file(self) -> int:
        # A lock belongs to the open file, which a fork shares: the child opens its own.
        if self._handle < 0 or self._process != os.getpid():
            try:
                self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise ConfigError(
                    f"the rate limit file {str(self._path)!r} cannot be opened: {error.strerror}; "
                    "point SAGE_LIMITS_DIR to a folder that can be written"
                ) from error
            self._process = os.getpid()
        return self._handle

    def _read(self, handle: int) -> Bucket:
        data = os.pread(handle, _HEAD.size + Bucket.SIZE, 0)
        if len(data) == _HEAD.size + Bucket.SIZE:
            magic, _, check = _HEAD.unpack_from(data)
            body = data[_HEAD.size :]
            if magic == _MAGIC and check == zlib.crc32(body):
                return Bucket.unpack(body)
        return Bucket()
