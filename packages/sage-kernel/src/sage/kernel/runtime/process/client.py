"""One worker process as its pool sees it: start, exchange a batch, close, kill.

Most methods belong to the dispatcher thread that owns the worker; ``terminate``, ``kill`` and
``wait_exit`` may come from any thread, and the first two make a waiting ``exchange`` end.
"""

from __future__ import annotations

import json
import mmap
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from sage.common.errors import JobError
from sage.kernel.runtime.process import frames
from sage.kernel.runtime.process.codec import Codec
from sage.kernel.runtime.process.remote import WorkerDiedError, describe_exit, unpack_error

_BOOT: Final = (
    "import json,sys;a=json.loads(sys.argv[1]);sys.path[:]=a[0];"
    "from sage.kernel.runtime.process.worker import main;main(a[1],a[2])"
)
_ONE_THREAD: Final = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""A worker per core is there already; threads of numeric libraries would fight for the cores."""

CLOSE_GRACE: Final = 10.0
"""Seconds a closed worker may take to exit after it has answered."""


class Late(Exception):
    """No answer within the time limit."""


class WorkerProcess:
    """A worker that has been started.

    Args:
        operator: Name of the step, for messages.
        shipped: The pickled function and what belongs to it (``shipping.ship``).
        codec: Encodes and decodes batches.
    """

    def __init__(self, operator: str, shipped: bytes, codec: Codec) -> None:
        self._operator = operator
        self._codec = codec
        self._reaping = threading.Lock()
        self._ready = False
        self._started = monotonic()
        self.startup_seconds: float | None = None
        ours, theirs = socket.socketpair()
        self._sock = ours
        with tempfile.TemporaryFile() as marks:
            marks.truncate(8)
            self._marks = mmap.mmap(marks.fileno(), 8)
            self._progress = memoryview(self._marks).cast("q")
            self._progress[0] = -1
            try:
                self._process = self._launch(theirs, marks.fileno())
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
        self.pid = self._process.pid
        self._pidfd = _open_pidfd(self.pid)
        self._poller = select.poll()
        self._poller.register(ours, select.POLLIN)
        if self._pidfd is not None:
            # A child that the function forked may hold the socket open after the worker's death.
            self._poller.register(self._pidfd, select.POLLIN)
        # In the background of the caller: the worker reads this once its interpreter is up.
        self._shipping = threading.Thread(
            target=self._send_quietly, args=(frames.INIT, shipped), daemon=True
        )
        self._shipping.start()

    def _launch(self, theirs: socket.socket, marks: int) -> subprocess.Popen[bytes]:
        if not sys.executable:
            raise JobError(
                f"step {self._operator!r} has executor='process', but this interpreter is embedded "
                "and cannot start another one; use executor='thread'"
            )
        # Not resolved: a symlink may be what makes a module importable under its name.
        path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100
        fds = (theirs.fileno(), marks)
        environment = {**dict.fromkeys(_ONE_THREAD, "1"), **os.environ}
        return subprocess.Popen(  # noqa: S603 - this interpreter and a constant program
            # -P: a json.py of the current folder is not what the boot imports.
            [sys.executable, "-P", "-c", _BOOT, json.dumps([path, *fds])],
            stdin=subprocess.DEVNULL,
            pass_fds=fds,
            env=environment,
            # Its own group: Ctrl-C reaches the job only, and a kill takes grandchildren along.
            start_new_session=True,
        )

    def _send_quietly(self, kind: int, payload: bytes) -> None:
        with suppress(OSError):  # it died; whoever waits for its answer finds out and says so
            frames.send(self._sock, kind, payload)

    def wait_ready(self) -> None:
        """Wait until the function is open in the worker.

        Raises:
            Exception: What building or opening the function raised there.
            WorkerDiedError: The process ended before.
        """
        if self._ready:
            return
        kind, data = self._receive(None)
        self._shipping.join()
        if kind == frames.FAILED:
            self._reap()
            raise unpack_error(pickle.loads(data))  # noqa: S301 - from our own worker
        self._ready = True
        self.startup_seconds = monotonic() - self._started

    def exchange(
        self, is_msgpack: bool, payload: bytes, timeout: float | None
    ) -> tuple[list[Any] | None, list[list[Any]]]:
        """Send an encoded batch; return the values and the failures.

        Raises:
            Late: No answer within ``timeout`` seconds; the worker is still busy.
            WorkerDiedError: The process ended.
        """
        self._progress[0] = -1
        kind = frames.BATCH | (frames.MSGPACK if is_msgpack else 0)
        try:
            frames.send(self._sock, kind, payload)
        except OSError as error:
            raise self._died() from error
        kind, data = self._receive(timeout)
        values, failures = self._codec.decode(bool(kind & frames.MSGPACK), data)
        return values, failures

    @property
    def position(self) -> int:
        """Index of the item of the last ``exchange`` that is being worked on.

        It is -1 when none was begun and their number when all were.
        """
        return int(self._progress[0])

    def close(self) -> None:
        """Close the function and end the process.

        Raises:
            Exception: What building, opening or closing the function raised there.
            WorkerDiedError: The process ended before it had closed the function.
        """
        try:
            self.wait_ready()
            try:
                frames.send(self._sock, frames.CLOSE)
            except OSError as error:
                raise self._died() from error
            kind, data = self._receive(None)
            if kind == frames.FAILED:
                raise unpack_error(pickle.loads(data))  # noqa: S301 - from our own worker
            self.wait_exit(CLOSE_GRACE)
        finally:
            self._reap()

    def terminate(self) -> None:
        """Ask the worker to stop its item, close its function and leave."""
        self._signal(signal.SIGTERM, group=False)

    def kill(self) -> None:
        """Kill the worker and the processes it started."""
        self._signal(signal.SIGKILL, group=True)

    def wait_exit(self, seconds: float) -> bool:
        """Wait for the process to end; whether it did."""
        if self._pidfd is not None:
            poller = select.poll()
            poller.register(self._pidfd, select.POLLIN)
            return bool(poller.poll(max(0.0, seconds) * 1000))
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def dispose(self) -> None:
        """Kill what is left and release descriptors; the worker cannot be used afterwards."""
        self._reap()
        self._shipping.join()
        self._sock.close()
        self._progress.release()
        self._marks.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _receive(self, timeout: float | None) -> tuple[int, bytearray]:
        events = self._poller.poll(None if timeout is None else timeout * 1000)
        if not events:
            raise Late
        if not any(fd == self._sock.fileno() for fd, _ in events):
            raise self._died()
        try:
            return frames.receive(self._sock)
        except (EOFError, OSError) as error:
            raise self._died() from error

    def _died(self) -> WorkerDiedError:
        self.wait_exit(CLOSE_GRACE)
        code = self._reap()
        words, name = describe_exit(code)
        return WorkerDiedError(
            f"step {self._operator!r}: worker process {self.pid} {words}",
            pid=self.pid,
            exit_code=code,
            signal=name,
            started=False,
            culprit=False,
        )

    def _signal(self, number: int, *, group: bool) -> None:
        with self._reaping:
            # Until it is reaped, its id (and that of its group) cannot belong to anybody else.
            if self._process.returncode is not None:
                return
            with suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self.pid, number)

    def _reap(self) -> int | None:
        """Make sure that the process and its group are gone; return the exit status."""
        self.kill()
        with self._reaping:
            return self._process.wait()


def _open_pidfd(pid: int) -> int | None:
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None
