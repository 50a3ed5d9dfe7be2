"""Processes by pid and start time, so that a number that was used again is not mistaken."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_PERIOD = 0.2


def start_time(pid: int) -> str | None:
    """When a process started, as the system writes it; ``None`` if there is none (or a zombie)."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    done = subprocess.run(  # noqa: S603 - fixed arguments
        ["/bin/ps", "-o", "lstart=,stat=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    text = done.stdout.strip()
    return None if not text or text.split()[-1].startswith("Z") else text.rpartition(" ")[0]


def alive(pid: int | None, started: str | None) -> bool:
    """Whether that very process lives."""
    return pid is not None and started is not None and start_time(pid) == started


def kill_group(pid: int | None, started: str | None, number: int = signal.SIGKILL) -> bool:
    """Send a signal to a process, and to the group if it leads one; whether it was there."""
    if not alive(pid, started) or pid is None:
        return False
    for send in (os.killpg, os.kill):  # one that was started in the foreground may lead no group
        try:
            send(pid, number)
        except (ProcessLookupError, PermissionError):
            continue
        return True
    return False


def wait_gone(pid: int, started: str, timeout: float | None = None) -> bool:
    """Wait until a process that is no child has ended; whether it has."""
    end = None if timeout is None else time.monotonic() + timeout
    if not alive(pid, started):
        return True
    if sys.platform == "linux":
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            if not alive(pid, started):
                return True
            return bool(select.select([handle], [], [], timeout)[0])
        finally:
            os.close(handle)
    while alive(pid, started):  # no system without pidfd tells us
        left = _PERIOD if end is None else min(_PERIOD, end - time.monotonic())
        if left <= 0:
            return False
        time.sleep(left)
    return True


def describe_exit(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "it ended while no JobManager watched"
    if code < 0:
        try:
            return f"it was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"it was killed by signal {-code}"
    return f"it ended with exit code {code}"
