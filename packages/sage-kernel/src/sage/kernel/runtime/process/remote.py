"""Errors that cross a process boundary."""

from __future__ import annotations

import pickle
import signal
import traceback
from typing import Any

from sage.common.errors import JobError
from sage.kernel.runtime.process.codec import Codec


class RemoteTraceback(Exception):
    """Traceback text of a worker process, attached as the cause of the error it belongs to."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteError(JobError):
    """Stands for an exception of a worker process that cannot be pickled.

    Attributes: ``original_type`` (qualified name), ``original_message``.
    """


class TransferError(JobError):
    """An item or a result cannot travel between processes."""


class WorkerDiedError(JobError):
    """A worker process ended while it had work.

    Attributes: ``pid``, ``exit_code`` (negative: killed by that signal), ``signal`` (its name or
    ``None``), ``started`` (whether the item had been begun), ``culprit`` (whether it was being
    worked on when the process ended).
    """


def describe_exit(exit_code: int | None) -> tuple[str, str | None]:
    """Words for an exit status, and the name of the signal, if one ended the process."""
    if exit_code is None:
        return "ended without a status", None
    if exit_code >= 0:
        return f"exited with status {exit_code}", None
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = {
        "SIGKILL": " (by hand, or because memory ran out)",
        "SIGSEGV": " (a crash in native code)",
        "SIGABRT": " (an abort in native code)",
    }.get(name, "")
    return f"was killed by {name}{hint}", name


def pack_error(codec: Codec, error: BaseException) -> list[Any]:
    """Four plain parts: pickle (empty if it would not survive), type name, message, traceback."""
    text = "".join(traceback.format_exception(error))
    kind = type(error)
    data = b""
    if isinstance(error, Exception):
        try:
            data = codec.pickle(error)
            if type(pickle.loads(data)) is not kind:  # noqa: S301 - made one line above
                data = b""
        except Exception:  # noqa: BLE001 - any class may fail in its own way: it goes as text then
            data = b""
    return [data, f"{kind.__module__}.{kind.__qualname__}", _message(error), text]


def unpack_error(parts: list[Any]) -> Exception:
    """The exception again, with the remote traceback as its cause."""
    data, name, message, text = parts
    error: Exception | None = None
    if data:
        try:
            error = pickle.loads(data)  # noqa: S301 - from our own worker
        except Exception:  # noqa: BLE001 - its class may not be importable here
            error = None
    if error is None:
        error = RemoteError(
            f"{name}: {message} (raised in a worker process; the exception itself cannot be sent)",
            original_type=name,
            original_message=message,
        )
    error.__cause__ = RemoteTraceback(text)
    return error


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a broken __str__ must not hide the error
        return f"<str() failed with {type(broken).__name__}>"
