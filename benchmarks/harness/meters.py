"""Clocks and memory of this process, and cold processes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self


class Meter:
    """Wall and CPU seconds (all threads) of a ``with`` block."""

    def __enter__(self) -> Self:
        gc.collect()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self.wall = self.cpu = 0.0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.wall = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu


def rss_mb() -> float:
    """Resident memory now, MiB."""
    return _status("VmRSS")


def peak_mb() -> float:
    """Most resident memory since the start or ``reset_peak``, MiB."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Begin a new peak."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


class Cost(NamedTuple):
    """What a whole process cost, in seconds."""

    wall: float
    cpu: float


def cold_process(code: str) -> Cost:
    """Run ``code`` in a fresh interpreter, which may keep compiled modules, and wait for its end.

    Raises:
        RuntimeError: It failed.
    """
    command = [sys.executable, "-c", code]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"status {process.returncode} of {code!r}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def ratios(ours: Sequence[float], base: Sequence[float]) -> list[float]:
    """Round by round, ours over the baseline."""
    return [a / b for a, b in zip(ours, base, strict=True)]
