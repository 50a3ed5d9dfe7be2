"""The process at the other end: reads batches, calls the function, answers with the outcomes.

Started by ``client`` as ``python -c``, never imported by the parent. It ends when the parent closes
it, sends SIGTERM, or is gone: a thread waits for the parent's end of the socket to vanish and then
kills the whole process group, also while the function is busy.
"""

from __future__ import annotations

import atexit
import mmap
import os
import pickle
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from sage.api.context import RuntimeContext
from sage.common.errors import JobError, ServiceError
from sage.kernel.runtime.process import frames
from sage.kernel.runtime.process.codec import Codec
from sage.kernel.runtime.process.remote import TransferError, pack_error

NONE = -1
"""Index in an answer about a batch of which nothing was begun."""


class _Terminated(BaseException):
    """SIGTERM: stop the current item, close the function, leave."""


def main(socket_fd: int, progress_fd: int) -> None:
    """Body of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_terminate)
    sock = socket.socket(fileno=socket_fd)
    os.set_inheritable(socket_fd, False)
    threading.Thread(target=_die_with_parent, args=(sock.fileno(),), daemon=True).start()
    progress = memoryview(mmap.mmap(progress_fd, 8)).cast("q")
    os.close(progress_fd)
    try:
        _serve(sock, progress)
    except _Terminated:
        _leave(128 + signal.SIGTERM)
    except (EOFError, ConnectionError):
        _leave(1)
    # Not sys.exit: a thread that a library of the user left behind would hold the process.
    atexit._run_exitfuncs()
    _leave(0)


def _serve(sock: socket.socket, progress: memoryview[int]) -> None:
    codec = Codec()
    function: Any = None
    opened = False
    try:
        try:
            _, data = frames.receive(sock)
            shipped, by_value, extra = pickle.loads(data)  # noqa: S301 - from the parent, over its socket pair
            codec = Codec(by_value)
            target, args, kwargs, is_class = shipped
            function = target(*args, **kwargs) if is_class else target
            ctx = _context(extra)
            if hasattr(function, "execute"):
                function.ctx = ctx
            if callable(getattr(function, "open", None)) and hasattr(function, "execute"):
                function.open(ctx)
                opened = True
            work = _Work(function, extra["kind"], codec, progress)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the parent raises it
            frames.send(sock, frames.FAILED, pickle.dumps(pack_error(codec, error)))
            return
        frames.send(sock, frames.READY)
        while True:
            kind, data = frames.receive(sock)
            if kind == frames.CLOSE:
                break
            is_msgpack, answer = work.answer(bool(kind & frames.MSGPACK), data)
            _flush()
            frames.send(sock, frames.RESULT | (frames.MSGPACK if is_msgpack else 0), answer)
        opened = False
        try:
            _close(function)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the parent raises it
            frames.send(sock, frames.FAILED, pickle.dumps(pack_error(codec, error)))
        else:
            frames.send(sock, frames.CLOSED)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if opened:
            _close_quietly(function)


class _Work:
    """Calls the function for each item of a batch."""

    def __init__(self, function: Any, kind: str, codec: Codec, progress: memoryview[int]) -> None:
        self._function = function
        self._codec = codec
        self._progress = progress
        self._loop: Any = None
        execute = getattr(function, "execute", None) or function
        self._execute: Callable[[Any], Any] = execute
        self._call = {"map": self._map, "filter": self._filter, "flatmap": self._flatmap}[kind]
        self._vectorised = getattr(function, "execute_batch", None) if kind == "map" else None

    def answer(self, is_msgpack: bool, data: bytearray) -> tuple[bool, bytes]:
        """Outcomes of a batch: ``[values, [[index, *packed error], ...]]``."""
        try:
            items = self._codec.decode(is_msgpack, data)
        except Exception as error:  # noqa: BLE001 - reported for each item of the batch
            failure = TransferError(
                "the items cannot be read in the worker process: "
                f"{type(error).__name__}: {error}; their class must be importable there"
            )
            failure.__cause__ = error
            return True, self._codec.encode([None, [[NONE, *pack_error(self._codec, failure)]]])[1]
        values: list[Any] = [None] * len(items)
        failures: list[list[Any]] = []
        if self._vectorised is None:
            call, progress = self._call, self._progress
            for i, item in enumerate(items):
                progress[0] = i
                try:
                    values[i] = call(item)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - its outcome
                    failures.append([i, *pack_error(self._codec, error)])
        else:
            values = self._batch(items, failures)
        # Begun and done, until the parent sends the next batch.
        self._progress[0] = len(items)
        try:
            return self._codec.encode([values, failures])
        except Exception:  # noqa: BLE001 - find the values that cannot be sent
            return self._encode_each(values, failures)

    def _batch(self, items: list[Any], failures: list[list[Any]]) -> list[Any]:
        self._progress[0] = len(items)
        try:
            values = list(self._await(self._vectorised(items)))  # type: ignore[misc]
            if len(values) != len(items):
                raise JobError(
                    f"execute_batch must return one result per item: got {len(values)} results "
                    f"for {len(items)} items"
                )
        except (Exception, SystemExit) as error:  # noqa: BLE001 - their outcome
            packed = pack_error(self._codec, error)
            failures.extend([i, *packed] for i in range(len(items)))
            return [None] * len(items)
        return values

    def _encode_each(self, values: list[Any], failures: list[list[Any]]) -> tuple[bool, bytes]:
        for i, value in enumerate(values):
            try:
                self._codec.encode(value)
            except Exception as error:  # noqa: BLE001 - becomes the outcome of this item
                values[i] = None
                failure = TransferError(
                    f"the result of type {type(value).__name__!r} cannot be sent from a worker "
                    f"process: {type(error).__name__}: {error}"
                )
                failures.append([i, *pack_error(self._codec, failure)])
        return self._codec.encode([values, failures])

    def _map(self, item: Any) -> Any:
        return self._await(self._execute(item))

    def _filter(self, item: Any) -> bool:
        return bool(self._await(self._execute(item)))

    def _flatmap(self, item: Any) -> list[Any]:
        try:
            returned = self._await(self._execute(item))
            if hasattr(returned, "__aiter__"):
                returned = self._await(_drain(returned))
            outputs = [] if returned is None else list(returned)
        finally:
            collected = getattr(self._function, "__dict__", {}).pop("_collected", None)
        return [*collected, *outputs] if collected else outputs

    def _await(self, result: Any) -> Any:
        if not hasattr(result, "__await__"):
            return result
        if self._loop is None:
            import asyncio  # noqa: PLC0415 - only for async functions

            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(result)


async def _drain(items: Any) -> list[Any]:
    return [item async for item in items]


def _context(extra: dict[str, Any]) -> RuntimeContext:
    operator = extra["operator"]

    def no_services(name: str, *args: Any, **kwargs: Any) -> NoReturn:
        raise ServiceError(
            f"step {operator!r} runs with executor='process' and cannot call the service {name!r}: "
            "services live in the job's own process; use executor='thread' for this step, or call "
            "the service in a step before it",
            service=name,
        )

    context = RuntimeContext(
        job_id=extra["job_id"],
        job_name=extra["job_name"],
        operator=operator,
        uid=extra["uid"],
        subtask=extra["subtask"],
        parallelism=extra["parallelism"],
        config=extra["config"],
        call_service=no_services,
    )
    if extra["recorded"]:
        context._calls = _NoCalls(operator)
    return context


class _NoCalls:
    """In the place of a step's calls, in a job with a ledger."""

    def __init__(self, operator: str) -> None:
        self._operator = operator

    def __getattr__(self, name: str) -> NoReturn:
        raise JobError(
            f"step {self._operator!r} runs with executor='process' and cannot use ctx.{name}: the "
            "ledger of the job is in its own process; use executor='thread' for this step"
        )


def _close(function: Any) -> None:
    if hasattr(function, "execute") and callable(getattr(function, "close", None)):
        function.close()


def _close_quietly(function: Any) -> None:
    """Close after a cancel or a lost parent; there is nobody to report an error to."""
    try:
        _close(function)
    except Exception:  # noqa: BLE001
        import traceback  # noqa: PLC0415

        traceback.print_exc()


def _on_terminate(signum: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated


def _die_with_parent(fd: int) -> None:
    poller = select.poll()
    poller.register(fd, 0)  # only hang-ups; data is the main thread's
    while not poller.poll():
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()


def _leave(status: int) -> NoReturn:
    """Exit at once, with what was printed."""
    _flush()
    os._exit(status)
