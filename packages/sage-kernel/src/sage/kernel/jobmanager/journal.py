"""The journal of a job: what happened, one JSON line each, numbered without gaps.

The runner appends; it counts on where the last attempt stopped, also when that one was killed in
the middle of a line. Events are written through to the disk. What comes again and again for as
long as a job runs, samples of the metrics and checkpoints, goes to a file of its own, which is kept
below a size: the daemon has read it long before.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sage.common.secrets import redact
from sage.kernel.jobmanager.layout import JobFolder

METRICS = "metrics"
CHECKPOINT = "checkpoint_completed"
_RECURRING = (METRICS, CHECKPOINT)
_METRICS_BYTES = 8 * 1024 * 1024
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC

Line = dict[str, Any]
"""``{"n": number, "time": Unix seconds, "attempt": number, "type": ..., "data": {...}}``"""


class Journal:
    """The journal as its one writer sees it. May be used by any thread.

    Args:
        folder: The job.
        attempt: Number of this attempt.
    """

    def __init__(self, folder: JobFolder, attempt: int) -> None:
        self._folder = folder
        self._attempt = attempt
        self._lock = threading.Lock()
        self._listeners: list[Callable[[bytes], None]] = []
        for path in (folder.journal, folder.metrics):
            _cut_torn_line(path)
        self._last = max((line["n"] for line in read_journal(folder)), default=0)
        self._events = os.open(folder.journal, _APPEND, 0o600)
        self._samples = os.open(folder.metrics, _APPEND, 0o600)

    def append(self, kind: str, data: Mapping[str, Any]) -> None:
        """Write a line: an event, or a sample of the metrics (``METRICS``)."""
        with self._lock:
            line = {
                "n": self._last + 1,
                "time": time.time(),
                "attempt": self._attempt,
                "type": kind,
                "data": data,
            }
            raw = redact(json.dumps(line, default=str)).encode() + b"\n"
            if kind in _RECURRING:
                self._sample(raw)
            else:
                os.write(self._events, raw)
                os.fsync(self._events)
            self._last += 1
            for listener in self._listeners:
                listener(raw)

    def follow(self, after: int, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Give ``listener`` each line after number ``after``, those to come too.

        Returns:
            Ends it.
        """
        with self._lock:
            for line in read_journal(self._folder, after):
                listener(json.dumps(line).encode() + b"\n")
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return stop

    def _sample(self, raw: bytes) -> None:
        if os.fstat(self._samples).st_size > _METRICS_BYTES:
            self._folder.metrics.replace(self._folder.metrics.with_suffix(".old"))
            os.close(self._samples)
            self._samples = os.open(self._folder.metrics, _APPEND, 0o600)
        os.write(self._samples, raw)


def read_journal(folder: JobFolder, after: int = 0) -> list[Line]:
    """The whole lines after number ``after``, in order; also while they are being written."""
    files = (folder.journal, folder.metrics.with_suffix(".old"), folder.metrics)
    lines = [line for path in files for line in _lines(path) if line["n"] > after]
    return sorted(lines, key=lambda line: int(line["n"]))


def _lines(path: Path) -> Iterator[Line]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    for text in raw.split(b"\n")[:-1]:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # half a line that a disk lost; the next attempt wrote behind it
        if isinstance(line, dict) and isinstance(line.get("n"), int):
            yield line


def _cut_torn_line(path: Path) -> None:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    whole = raw.rfind(b"\n") + 1
    if whole < len(raw):
        os.truncate(path, whole)
