"""Asks for checkpoints, gathers what the tasks saved, and writes them.

One checkpoint at a time. The coordinator announces a barrier; sources put it into their channels,
and for tasks that have ended it is put there for them. A task that has passed the barrier
acknowledges it with its parts; one that has ended counts with its last state. When all have, the
checkpoint is written. Runs on a thread of its own; the methods may be called from any thread.

Predecessor: the tasks of ``sage.kernel.runtime``; successor: ``sage.kernel.checkpoint.store``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from sage.common.errors import JobError
from sage.kernel.checkpoint.store import CheckpointInfo, CheckpointStore

Parts = Mapping[str, bytes]


class Participant(Protocol):
    """What the coordinator asks of a task."""

    def forward(self, checkpoint: int) -> None:
        """Put the barrier of a checkpoint into all outputs."""


class _Pending:
    """A checkpoint under way."""

    def __init__(self, number: int, waiting: set[Participant]) -> None:
        self.id = number
        self.waiting = waiting
        self.parts: dict[str, bytes] = {}
        self.began = time.time()


class _Request:
    """Somebody waits for a checkpoint, or for a savepoint at ``path``."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.done = threading.Event()
        self.info: CheckpointInfo | None = None
        self.error: BaseException | None = None


class Coordinator:
    """See the module.

    Args:
        store: Where checkpoints go.
        interval: Seconds from the end of a checkpoint to the next one; ``None``: not by time.
        every: Records pulled by the sources after which the next one is due, or ``None``.
        timeout: Seconds after which a checkpoint is given up.
        first: Number of the first checkpoint.
        announce: Makes a barrier known to the sources: called with its number.
        tell: Called with an event and its facts: ``checkpoint_completed`` (``checkpoint_id``,
            ``duration``, ``size``) or ``checkpoint_failed`` (``checkpoint_id``, ``error``).
        failed: Called with what ended the coordinator; no checkpoint is taken after that. A later
            checkpoint that cannot be written is only told: the one before stays the last.
    """

    def __init__(
        self,
        store: CheckpointStore,
        *,
        interval: float | None,
        every: int | None,
        timeout: float,
        first: int,
        announce: Callable[[int], None],
        tell: Callable[..., None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.store = store
        self.every = every
        self._interval = interval
        self._timeout = timeout
        self._next = first
        self.facts: Mapping[str, Any] = {}
        """What is saved beside the parts."""
        self.before_write: Callable[[], None] | None = None
        """Called before a checkpoint is written: what was noted until then must not be lost."""
        self._announce = announce
        self._tell = tell
        self._failed = failed
        self._lock = threading.Condition()
        self._alive: set[Participant] = set()
        self._ended: dict[Participant, Parts] = {}
        self._pending: _Pending | None = None
        self._requests: list[_Request] = []
        self._pulled = 0
        self._stopped = False
        self._thread: threading.Thread | None = None
        self.begun = threading.Event()
        """Set once the first checkpoint is complete (or none will be): sources start then."""

    # ------------------------------------------------------------------ for the job

    def start(self, tasks: Iterable[Participant], name: str) -> None:
        """Take the first checkpoint, before the sources pull anything; then by time or count."""
        self._alive = set(tasks)
        self._requests.append(_Request(None))
        self._thread = threading.Thread(target=self._run, name=f"sage-checkpoints-{name}")
        self._thread.daemon = True
        self._thread.start()

    def abandon(self) -> None:
        """No more checkpoints; one under way is given up. Returns at once."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()
        self.begun.set()

    def stop(self) -> None:
        """Like ``abandon``, and wait for the thread."""
        self.abandon()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def finish(self) -> CheckpointInfo:
        """Write the last checkpoint, of tasks that all have ended."""
        self.stop()
        parts = {name: data for ended in self._ended.values() for name, data in ended.items()}
        return self._write(self._next, parts, time.time())

    def request(self, path: Path | None = None, timeout: float | None = None) -> CheckpointInfo:
        """Take a checkpoint now (with ``path``: also as a savepoint there) and wait for it.

        Args:
            path: Folder of the savepoint; must not exist, or be empty.
            timeout: Seconds to wait.

        Raises:
            JobError: The job ends, or the checkpoint could not be taken.
            TimeoutError: It is not complete yet.
        """
        request = _Request(path)
        with self._lock:
            if self._stopped:
                raise JobError("no checkpoint can be taken: the job has ended or is ending")
            self._requests.append(request)
            self._lock.notify_all()
        if not request.done.wait(timeout):
            raise TimeoutError(f"the checkpoint is not complete after {timeout} s")
        if request.error is not None:
            raise JobError(f"the checkpoint failed: {request.error}") from request.error
        assert request.info is not None
        return request.info

    # ------------------------------------------------------------------ for the tasks

    def pulled(self, count: int) -> None:
        """A source pulled so many records more (with ``every``)."""
        assert self.every is not None
        with self._lock:
            self._pulled += count
            if self._pulled >= self.every:
                self._lock.notify_all()

    def acknowledge(self, task: Participant, checkpoint: int, parts: Parts) -> None:
        """A task has passed the barrier of a checkpoint; these are its parts."""
        with self._lock:
            pending = self._pending
            if self._stopped or pending is None or pending.id != checkpoint:
                return  # given up: what tasks have while they are stopped is not sound
            pending.waiting.discard(task)
            pending.parts.update(parts)
            if not pending.waiting:
                self._lock.notify_all()

    def task_ended(self, task: Participant, parts: Parts | None) -> None:
        """A task ended, in this state; ``None``: it failed, so there is no sound state any more."""
        with self._lock:
            self._alive.discard(task)
            if parts is None:
                self._stopped = True
                self._lock.notify_all()
                self.begun.set()
                return
            self._ended[task] = parts
            pending = None if self._stopped else self._pending
            if pending is not None and task in pending.waiting:
                task.forward(pending.id)
                pending.waiting.discard(task)
                pending.parts.update(parts)
                if not pending.waiting:
                    self._lock.notify_all()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while self._wait_due():
                self._take()
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the job must know
            self._give_up(error)
            self._failed(error)
        finally:
            self.begun.set()
            self._give_up(JobError("the job ends"))

    def _give_up(self, error: BaseException) -> None:
        with self._lock:
            self._stopped = True
            requests, self._requests = self._requests, []
        for request in requests:
            request.error = error
            request.done.set()

    def _wait_due(self) -> bool:
        """Wait until a checkpoint is due; false when there will be no more."""
        due = None if self._interval is None else time.monotonic() + self._interval
        with self._lock:
            while not self._stopped:
                if self._requests or (self.every is not None and self._pulled >= self.every):
                    return True
                left = None if due is None else due - time.monotonic()
                if left is not None and left <= 0 and self._alive:
                    return True
                self._lock.wait(left if left is None or left > 0 else None)
            return False

    def _take(self) -> None:
        with self._lock:
            requests, self._requests = self._requests, []
            number, self._next = self._next, self._next + 1
            self._pulled = 0
            pending = self._pending = _Pending(number, set(self._alive))
            for task, parts in self._ended.items():
                task.forward(number)
                pending.parts.update(parts)
        self._announce(number)
        end = time.monotonic() + self._timeout
        with self._lock:
            while pending.waiting and not self._stopped and (left := end - time.monotonic()) > 0:
                self._lock.wait(left)
            self._pending = None
            complete = not pending.waiting
            stopped = self._stopped
        if complete:
            self._complete(pending, requests)
        else:
            reason = "the job ends" if stopped else f"it was not complete after {self._timeout:g} s"
            error = JobError(f"checkpoint {number} was given up: {reason}")
            if not stopped:
                self._tell("checkpoint_failed", checkpoint_id=number, error=error)
            for request in requests:
                request.error = error
                request.done.set()

    def _complete(self, pending: _Pending, requests: list[_Request]) -> None:
        try:
            info = self._write(pending.id, pending.parts, pending.began)
        except OSError as error:
            for request in requests:
                request.error = error
                request.done.set()
            if not self.begun.is_set():
                raise
            self._tell("checkpoint_failed", checkpoint_id=pending.id, error=error)
            return
        for request in requests:
            try:
                if request.path is not None:
                    self._export(pending.id, request.path)
                request.info = info
            except (JobError, OSError) as error:
                request.error = error
            request.done.set()
        self.begun.set()

    def _export(self, number: int, path: Path) -> None:
        checkpoint = self.store.load(number)
        if checkpoint is None:
            raise JobError(f"checkpoint {number} is not there any more")
        self.store.export(checkpoint, path)

    def _write(self, number: int, parts: Parts, began: float) -> CheckpointInfo:
        if self.before_write is not None:
            self.before_write()
        info = self.store.write(number, parts, {**self.facts, "time": began})
        self._tell(
            "checkpoint_completed",
            checkpoint_id=number,
            duration=time.time() - began,
            size=info.new_bytes,
        )
        return info
