"""Answers what the daemon asks on the control socket; one thread per connection."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sage.common.errors import JobError
from sage.common.paths import within
from sage.kernel.jobmanager.control import lines, send
from sage.kernel.jobmanager.failures import to_wire
from sage.kernel.jobmanager.journal import Journal
from sage.kernel.jobmanager.runner.host import Host


class Requests:
    """The control socket of a job's process.

    Args:
        listener: The listening socket.
        journal: Its lines are what subscribers get.
        facts: What ``hello`` answers: ``pid``, ``process_started``, ``attempt``.
        stop: Called with ``cancel`` or ``suspend``.
    """

    def __init__(
        self,
        listener: socket.socket,
        journal: Journal,
        facts: Mapping[str, Any],
        stop: Callable[[str], None],
    ) -> None:
        self._listener = listener
        self._journal = journal
        self._facts = facts
        self._stop = stop
        self.host: Host | None = None

    def start(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._serve, args=(connection,), name="control-request", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            for message in lines(connection):
                method, params = str(message.get("method")), message.get("params") or {}
                if method == "subscribe":
                    self._feed(connection, int(params["after"]))
                    return
                try:
                    result = self._answer(method, params)
                except Exception as error:  # noqa: BLE001 - told to who asked
                    send(connection, {"error": to_wire(error)})
                else:
                    send(connection, {"result": result})

    def _answer(self, method: str, params: Mapping[str, Any]) -> Any:
        if method == "hello":
            return dict(self._facts)
        if method in ("cancel", "suspend"):
            self._stop(method)
            return None
        host = self.host
        if host is None:
            raise JobError("the job is still starting; try again in a moment")
        if method == "pause":
            host.pause()
            self._journal.append("state", {"status": "PAUSED"})
            return None
        if method == "resume":
            host.resume()
            self._journal.append("state", {"status": "RUNNING"})
            return None
        if method == "savepoint":
            name = str(params["name"])
            path: Path = within(host.folder.savepoints, name)
            return host.savepoint(path)
        raise JobError(f"a job's process does not know {method!r}")

    def _feed(self, connection: socket.socket, after: int) -> None:
        """Send the journal until the other end closes; the subscriber sends nothing more."""
        waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        end = self._journal.follow(after, waiting.put)
        threading.Thread(
            target=_wait_closed, args=(connection, waiting), name="control-end", daemon=True
        ).start()
        try:
            while (raw := waiting.get()) is not None:
                connection.sendall(raw)
        finally:
            end()


def _wait_closed(connection: socket.socket, waiting: queue.SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(4096):
            pass
    waiting.put(None)
