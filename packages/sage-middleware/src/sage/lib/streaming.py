"""Pieces of answers on their way to the sinks, ahead of the answers themselves.

A generator with ``stream`` tells every piece of text to the sinks of its job that listen: those
with ``stream`` or ``on_token``, in the same process. The answer itself takes its way through the
graph as always, so nothing depends on a piece having been seen.

Predecessor: ``sage.lib.rag.generator``; successor: ``sage.lib.io.sink``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from sage.lib.types import Query

Listener = Callable[[Query, str | None], object]
"""Called with a question and the next piece of its answer; ``None``: no more pieces come.

Called on the thread of the generator, so it must be quick and may not raise.
"""

# A job's generators and sinks are made apart and know nothing of each other but the job.
_lock = threading.Lock()
_listeners: dict[str, tuple[Listener, ...]] = {}


def listen(job_id: str, listener: Listener) -> Callable[[], None]:
    """Tell ``listener`` the pieces of a job's answers, until the returned function is called."""
    with _lock:
        _listeners[job_id] = (*_listeners.get(job_id, ()), listener)

    def stop() -> None:
        with _lock:
            rest = tuple(each for each in _listeners.get(job_id, ()) if each is not listener)
            if rest:
                _listeners[job_id] = rest
            else:
                _listeners.pop(job_id, None)

    return stop


class Telling:
    """What a generator calls with each piece of one answer.

    A sink that opens while the answer is under way gets the earlier pieces too; one that opens
    later gets the answer only.

    Args:
        job_id: The job.
        query: The question that is answered.
        also: Called with each piece too.
    """

    __slots__ = ("_also", "_job_id", "_pieces", "_query", "_told")

    def __init__(
        self, job_id: str, query: Query, also: Callable[[str], object] | None = None
    ) -> None:
        self._job_id = job_id
        self._query = query
        self._also = also
        self._pieces: list[str] = []
        self._told: dict[Listener, int] = {}

    def __call__(self, piece: str) -> None:
        if self._also is not None:
            self._also(piece)
        self._pieces.append(piece)
        for listener in _listeners.get(self._job_id, ()):
            self._catch_up(listener)

    def retract(self) -> bool:
        """Take back the pieces of an answer that broke off; false when anybody was told one."""
        if self._also is not None or self._told:
            return False
        self._pieces.clear()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Tell the listeners that no more pieces come, however the answer ended."""
        for listener in _listeners.get(self._job_id, ()):
            self._catch_up(listener)
            listener(self._query, None)

    def _catch_up(self, listener: Listener) -> None:
        for piece in self._pieces[self._told.get(listener, 0) :]:
            listener(self._query, piece)
        self._told[listener] = len(self._pieces)
