"""One process of a job, as the daemon holds it: started by it, or found again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from sage.common.errors import SageError, ServiceError
from sage.kernel.jobmanager import control
from sage.kernel.jobmanager.journal import Line
from sage.kernel.jobmanager.layout import JobFolder
from sage.kernel.jobmanager.process import alive, kill_group, start_time, wait_gone
from sage.kernel.jobmanager.settings import JobManagerSettings
from sage.kernel.scheduling.registry import DIRECTORY_VARIABLE


class Attempt:
    """A process that works on a job.

    Attributes:
        number: Of the attempt.
        pid: Process id; it leads a process group.
        started: Its start time, which tells it from a later process of the same number.
        ended: Set once ``wait`` returned.
        suspended: Whether it is killed because it did not end in time with the daemon.
    """

    def __init__(
        self,
        folder: JobFolder,
        number: int,
        pid: int,
        started: str | None,
        child: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self._folder = folder
        self._child = child
        self.number = number
        self.pid = pid
        self.started = started
        self.ended = threading.Event()
        self.suspended = False

    def journal(self, after: int) -> Iterator[Line]:
        """Lines of the journal as they are written, until the process ends."""
        connection = control.connect(self._folder.control)
        if connection is None:
            return
        threading.Thread(
            target=self._end_with_process, args=(connection,), name="journal-end", daemon=True
        ).start()
        with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            control.send(connection, {"method": "subscribe", "params": {"after": after}})
            yield from control.lines(connection)

    def wait(self) -> int | None:
        """Wait for the end; the exit code, ``None`` for a process that is no child of this one.

        What the process started and left behind is killed.
        """
        code: int | None = None
        self._wait_gone()
        # The number of a child not reaped yet, or that no process has, names its group only.
        if self._child is not None or start_time(self.pid) is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        if self._child is not None:
            code = self._child.wait()
        self.ended.set()
        return code

    def _wait_gone(self) -> None:
        """Wait for the end; a child is not reaped by that."""
        if self._child is not None:
            with contextlib.suppress(ChildProcessError):  # reaped meanwhile
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        elif self.started is not None:
            wait_gone(self.pid, self.started)

    def _end_with_process(self, connection: socket.socket) -> None:
        """End a journal whose other end was inherited by a process that lives on."""
        self._wait_gone()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        """Kill the process and what it started."""
        kill_group(self.pid, self.started)


def spawn(folder: JobFolder, number: int, settings: JobManagerSettings) -> Attempt:
    """Start a process for a job.

    Raises:
        ServiceError: The control socket cannot be made.
        OSError: The system starts no process.
    """
    submission = json.loads(folder.submission.read_text("utf-8"))
    listener = control.listen(folder.control)
    options = {
        "allow_code": settings.allow_code,
        "metrics_interval": settings.metrics_interval,
        "log_bytes": settings.log_bytes,
        "log_files": settings.log_files,
    }
    with listener, folder.log.open("ab") as output:
        folder.log.chmod(0o600)
        child = subprocess.Popen(  # noqa: S603 - our own module
            [
                sys.executable,
                "-P",  # the working directory is the submission's: it must not shadow our modules
                "-m",
                "sage.kernel.jobmanager.runner",
                str(folder.path),
                str(number),
                str(listener.fileno()),
                json.dumps(options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=submission.get("working_dir") or folder.work,
            env=_environment(folder, submission.get("environment") or {}),
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )
    return Attempt(folder, number, child.pid, start_time(child.pid), child)


def adopt(folder: JobFolder, number: int, pid: int | None, started: str | None) -> Attempt | None:
    """The process of a job that an earlier daemon started, if it lives.

    Args:
        folder: The job.
        number: Of its last attempt.
        pid, started: What the earlier daemon stored, if it came to that.
    """
    if pid is not None and started is not None:
        return Attempt(folder, number, pid, started) if alive(pid, started) else None
    try:  # the daemon was killed between the start of the process and the store
        facts = control.call(folder.control, "hello", timeout=None)
    except (ServiceError, SageError, OSError):
        return None
    return Attempt(folder, number, int(facts["pid"]), str(facts["process_started"]))


def read_result(folder: JobFolder, attempt: int) -> dict[str, Any] | None:
    """How an attempt says it ended, or ``None`` when it could not say."""
    try:
        result: dict[str, Any] = json.loads(folder.result(attempt).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return result


def _environment(folder: JobFolder, added: Mapping[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONSTARTUP"}
    return {**ours, DIRECTORY_VARIABLE: str(folder.home.limits), "PYTHONUNBUFFERED": "1", **added}
