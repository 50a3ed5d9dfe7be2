"""The control socket of a job: JSON lines over a Unix socket in the job's private folder.

A request is ``{"method": ..., "params": {...}}``; the answer ``{"result": ...}`` or ``{"error":
{"type", "message"}}``. ``subscribe`` is answered by the lines of the journal, for as long as the
connection lasts.

The daemon makes the listening socket and hands it to the process at birth: whoever can connect
knows that the process lives; a refusal means it is dead.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sage.common.errors import JobError, ServiceError
from sage.kernel.jobmanager.failures import from_wire

MAX_LINE = 64 * 1024 * 1024
_LONGEST = 100  # bytes of a socket's path; the system's limit is 104 to 108


def listen(path: Path) -> socket.socket:
    """A listening socket at ``path``, in the place of an older one.

    Raises:
        ServiceError: It cannot be made.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _at(path, listener.bind)
        listener.listen(16)
    except OSError as exc:
        listener.close()
        raise ServiceError(f"cannot make the socket {str(path)!r}: {exc}") from exc
    return listener


def connect(path: Path, timeout: float | None = None) -> socket.socket | None:
    """A connection to the process of a job; ``None`` when there is no such process."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        _at(path, connection.connect)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def call(
    path: Path, method: str, params: Mapping[str, Any] | None = None, timeout: float | None = 30.0
) -> Any:
    """Ask the process of a job.

    Args:
        path: The socket.
        method: What.
        params: Plain arguments.
        timeout: Seconds for the answer.

    Raises:
        SageError: What it raised, as the same class where it is one of ours.
        ServiceError: The process is not there, or does not answer in time.
    """
    try:
        connection = connect(path, timeout)
        if connection is None:
            raise ServiceError("the job has no process just now")
        with connection:
            send(connection, {"method": method, "params": params or {}})
            answer = next(lines(connection), None)
    except TimeoutError as exc:
        raise ServiceError(f"the job's process did not answer within {timeout:g} s") from exc
    except OSError as exc:  # also one that has so many callers already that it takes no more
        raise ServiceError(f"the job's process broke off: {exc}") from exc
    if answer is None:
        raise ServiceError("the job's process ended before it answered")
    if "error" in answer:
        raise from_wire(answer["error"], JobError)
    return answer.get("result")


def send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    """Send one line."""
    connection.sendall(json.dumps(message, default=str).encode() + b"\n")


def lines(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """The lines that come, until the other end closes.

    Raises:
        ServiceError: A line is too long or no JSON object.
    """
    left = b""
    while True:
        try:
            chunk = connection.recv(65536)
        except ConnectionResetError:
            return
        if not chunk:
            return
        *whole, left = (left + chunk).split(b"\n")
        if len(left) > MAX_LINE:
            raise ServiceError(f"a line on a control socket is longer than {MAX_LINE} bytes")
        for raw in whole:
            try:
                message = json.loads(raw)
            except ValueError as exc:
                raise ServiceError(f"no JSON on a control socket: {raw[:80]!r}") from exc
            if not isinstance(message, dict):
                raise ServiceError(f"no JSON object on a control socket: {raw[:80]!r}")
            yield message


def _at(path: Path, use: Any) -> None:
    """``bind`` or ``connect``, also where the path is longer than the system takes."""
    if len(os.fsencode(path)) <= _LONGEST:
        use(str(path))
        return
    if not Path("/proc/self/fd").is_dir():
        raise ServiceError(
            f"the path {str(path)!r} is too long for a socket; set jobmanager.data_dir to a "
            "shorter one"
        )
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        use(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
