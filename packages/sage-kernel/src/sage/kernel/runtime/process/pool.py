"""A pool of worker processes for one step.

The runtime has one thread per worker; each calls ``call(its index, batch)`` and gets an outcome per
item, so that error policies apply per item and in the parent::

    with ProcessPool(FunctionSpec(Resize, ({"width": 64},)), workers=4, operator="resize") as pool:
        for ok, value in pool.call(0, images):
            ...

No item is begun twice. If a worker dies, the item it died on and those before it in the same batch
(whose results died with it) are reported as ``WorkerDiedError``; items it had not begun go to a
fresh worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from sage.common.errors import GraphError, JobCanceledError, StepTimeoutError
from sage.kernel.graph.model import FunctionSpec
from sage.kernel.runtime.process.client import Late, WorkerProcess
from sage.kernel.runtime.process.remote import TransferError, WorkerDiedError, unpack_error
from sage.kernel.runtime.process.shipping import codec_for, ship

MESSAGE_ITEMS: Final = 64
"""Most items per message that pay off: beyond it the cost per item hardly falls, latency grows."""

KINDS: Final = ("map", "filter", "flatmap")

Outcome = tuple[bool, Any]
"""``(True, result)`` or ``(False, exception)``; the result of a flatmap is the list of its outputs,
of a filter a bool."""


class ProcessPool:
    """Workers that each hold an open instance of one function.

    Args:
        function: What to call: a ``FunctionSpec``, or a callable.
        workers: Number of processes, >= 1.
        kind: ``"map"`` (uses ``execute_batch`` if the function has it), ``"filter"`` or
            ``"flatmap"``.
        operator, uid, job_id, job_name, config: What the function's context says. Services cannot
            be reached from a worker: calling one raises a ``ServiceError`` that says so.
        recorded: Whether the job has a ledger, which cannot be reached from a worker either.

    Raises:
        GraphError: The function cannot be sent to a process, or an argument is wrong.
    """

    def __init__(
        self,
        function: FunctionSpec | Callable[..., Any],
        *,
        workers: int,
        kind: str = "map",
        operator: str = "",
        uid: str = "",
        job_id: str = "",
        job_name: str = "",
        config: Mapping[str, Any] | None = None,
        recorded: bool = False,
    ) -> None:
        if kind not in KINDS:
            raise GraphError(
                f"step {operator!r} of kind {kind!r} cannot run with executor='process'; "
                f"possible kinds: {', '.join(KINDS)}",
                operator=operator,
            )
        if workers < 1:
            raise GraphError(f"step {operator!r} needs at least one worker, got {workers}")
        spec = function if isinstance(function, FunctionSpec) else FunctionSpec(function)
        self._operator = operator or spec.label
        common = {
            "kind": kind,
            "operator": self._operator,
            "uid": uid,
            "job_id": job_id,
            "job_name": job_name,
            "parallelism": workers,
            "recorded": recorded,
            "config": dict(config or {}),
        }
        self._shipped: list[bytes] = []
        by_value: tuple[str, ...] = ()
        for subtask in range(workers):
            data, by_value = ship(spec, self._operator, {**common, "subtask": subtask})
            self._shipped.append(data)
        self._codec = codec_for(by_value)
        self._workers: list[WorkerProcess | None] = [None] * workers
        self._changing = threading.Lock()
        self._canceled = False
        self._closed = False
        self.startup_seconds: list[float | None] = [None] * workers
        """Seconds each worker took to be ready; ``None`` until its first call."""

    @property
    def workers(self) -> int:
        """Number of workers."""
        return len(self._workers)

    @property
    def pids(self) -> list[int | None]:
        """Process ids; ``None`` for a worker that is not running."""
        return [None if worker is None else worker.pid for worker in self._workers]

    def start(self) -> None:
        """Start all processes without waiting for them; ``call`` starts what is missing."""
        for index in range(self.workers):
            self._worker(index)

    def call(self, index: int, items: Sequence[Any], timeout: float | None = None) -> list[Outcome]:
        """Have worker ``index`` handle ``items``; blocks. One thread at a time per index.

        Args:
            index: The worker.
            items: The batch; best up to ``MESSAGE_ITEMS``.
            timeout: Seconds for one item. Items are then sent one at a time; a worker that is late
                is killed, its item reported as ``StepTimeoutError``, and a new one started.

        Returns:
            One outcome per item, in order.

        Raises:
            Exception: What building or opening the function raised in the worker, or
                ``WorkerDiedError`` if the process ended during that.
            JobCanceledError: The pool was canceled.
        """
        outcomes: list[Outcome | None] = [None] * len(items)
        at = 0
        sent_again = False
        while at < len(items):
            worker = self._worker(index)
            self._guard(worker, index)
            end = len(items) if timeout is None else at + 1
            sending = self._encode(items, at, end, outcomes)
            if sending is None:
                at = end
                continue
            places, is_msgpack, payload = sending
            try:
                values, failures = worker.exchange(is_msgpack, payload, timeout)
            except Late:
                self._drop(index, worker)
                message = f"step {self._operator!r}: an item took longer than {timeout:g} s"
                outcomes[at] = (False, StepTimeoutError(message, timeout=timeout))
                at = end
            except WorkerDiedError as error:
                begun = worker.position
                self._drop(index, worker)
                self._check_canceled(error)
                if begun < 0 and not sent_again:  # it died before, or while it read the batch
                    sent_again = True
                    continue
                lost = len(places) if begun < 0 else min(begun + 1, len(places))
                for nth, place in enumerate(places[:lost]):
                    outcomes[place] = (False, _death(error, nth, begun, len(places)))
                at = end if lost == len(places) else places[lost]
            else:
                _fill(outcomes, places, values, failures)
                at = end
        return [outcome for outcome in outcomes if outcome is not None]

    def close(self) -> None:
        """Close the function in every worker and end the processes.

        Raises:
            Exception: The first error of a function's ``close``; all workers are ended anyway.
        """
        errors: list[Exception] = []
        with self._changing:
            self._closed = True
            running = [worker for worker in self._workers if worker is not None]
            self._workers = [None] * len(self._workers)
        for worker in running:
            try:
                if not self._canceled:
                    worker.close()
            except Exception as error:  # noqa: BLE001 - the others must be closed all the same
                errors.append(error)
            finally:
                worker.dispose()
        if errors:
            raise errors[0]

    def cancel(self, grace: float = 1.0) -> None:
        """End all workers now, from any thread; a ``call`` in progress raises ``JobCanceledError``.

        Python code is interrupted at its next instruction and the function closed. A worker that is
        still there after ``grace`` seconds (in native code, or in ``close``) is killed, with all
        processes it started.
        """
        with self._changing:
            self._canceled = True
            running = [worker for worker in self._workers if worker is not None]
        for worker in running:
            worker.terminate()
        end = monotonic() + grace
        for worker in running:
            worker.wait_exit(end - monotonic())
            worker.kill()
        for worker in running:
            worker.wait_exit(grace)

    def __enter__(self) -> ProcessPool:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self.cancel()
        self.close()

    def _worker(self, index: int) -> WorkerProcess:
        with self._changing:
            self._check_canceled(None)
            worker = self._workers[index]
            if worker is None:
                if self._closed:
                    raise JobCanceledError(f"the processes of step {self._operator!r} are closed")
                worker = WorkerProcess(self._operator, self._shipped[index], self._codec)
                self._workers[index] = worker
            return worker

    def _guard(self, worker: WorkerProcess, index: int) -> None:
        try:
            worker.wait_ready()
        except Exception as error:
            self._drop(index, worker)
            self._check_canceled(error)
            raise
        self.startup_seconds[index] = worker.startup_seconds

    def _drop(self, index: int, worker: WorkerProcess) -> None:
        with self._changing:
            # Once canceled, another thread may be waiting for this worker; close() disposes of it.
            if self._canceled or self._workers[index] is not worker:
                return
            self._workers[index] = None
        worker.dispose()

    def _check_canceled(self, cause: BaseException | None) -> None:
        if self._canceled:
            raise JobCanceledError(
                f"the processes of step {self._operator!r} were canceled"
            ) from cause

    def _encode(
        self, items: Sequence[Any], at: int, end: int, outcomes: list[Outcome | None]
    ) -> tuple[list[int], bool, bytes] | None:
        """Bytes for ``items[at:end]`` and their places; what cannot be sent gets an outcome."""
        batch = list(items[at:end])
        places = list(range(at, end))
        try:
            return places, *self._codec.encode(batch)
        except Exception:  # noqa: BLE001, S110 - the loop finds the items that cannot be sent
            pass
        sendable = []
        for place in places:
            try:
                self._codec.encode(items[place])
            except Exception as error:  # noqa: BLE001 - becomes the outcome of this item
                failure = TransferError(
                    f"step {self._operator!r}: an item of type {type(items[place]).__name__!r} "
                    f"cannot be sent to a worker process: {type(error).__name__}: {error}"
                )
                failure.__cause__ = error
                outcomes[place] = (False, failure)
            else:
                sendable.append(place)
        if not sendable:
            return None
        return sendable, *self._codec.encode([items[place] for place in sendable])


def _fill(
    outcomes: list[Outcome | None],
    places: list[int],
    values: list[Any] | None,
    failures: list[list[Any]],
) -> None:
    if values is None:  # the batch could not be read over there
        for place in places:
            outcomes[place] = (False, unpack_error(failures[0][1:]))
        return
    for place, value in zip(places, values, strict=True):
        outcomes[place] = (True, value)
    for nth, *packed in failures:
        outcomes[places[nth]] = (False, unpack_error(packed))


def _death(error: WorkerDiedError, nth: int, begun: int, size: int) -> WorkerDiedError:
    """What the death of a worker means for item ``nth`` of its batch."""
    if nth == begun:
        what = "while it worked on this item"
    elif begun >= size:
        what = "before the results of its batch were handed over"
    elif nth < begun:
        what = "on a later item of the same batch, before the result of this one was handed over"
    else:
        what = "before it had begun this item"
    data = {**error.data, "started": nth <= begun, "culprit": nth == begun}
    return WorkerDiedError(f"{error.message} {what}", **data)
