"""Tells waiting streams that the store has something new for them."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Broker:
    """Wakes coroutines from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, tuple[asyncio.AbstractEventLoop, str | None]] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the daemon ends: streams end, too."""
        return self._closed

    def changed(self, job_id: str) -> None:
        """Something of a job was stored."""
        with self._lock:
            for event, (loop, job) in self._waiting.items():
                if job in (None, job_id):
                    _wake(loop, event)

    def close(self) -> None:
        """Wake everyone for the last time."""
        with self._lock:
            self._closed = True
            for event, (loop, _) in self._waiting.items():
                _wake(loop, event)

    def subscribe(self, job_id: str | None) -> asyncio.Event:
        """An event that is set whenever something of a job (``None``: any) was stored."""
        event = asyncio.Event()
        with self._lock:
            self._waiting[event] = (asyncio.get_running_loop(), job_id)
            if self._closed:
                event.set()
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        """Forget an event."""
        with self._lock:
            self._waiting.pop(event, None)


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended with its daemon
        loop.call_soon_threadsafe(event.set)
