"""Waiting for a turn, in a thread or on an event loop, with the same decisions.

Predecessor: ``sage.kernel.scheduling.owner``; successors: ``sage.kernel.scheduling.limiter``,
``sage.kernel.scheduling.job_budget``.
"""

from __future__ import annotations

import abc
import asyncio
import threading
from collections.abc import Callable, Generator
from typing import Any

from sage.kernel.scheduling.owner import OWNER


class Turn(abc.ABC):
    """Something to wait for: ``await turn`` on an event loop, ``turn.wait()`` in a thread.

    A wait that is given up (the task is canceled, the job is canceled, Ctrl-C) calls ``withdraw``.
    """

    def __init__(self) -> None:
        self._waker: Callable[[], None] | None = None

    @abc.abstractmethod
    def _ready(self) -> float | None:
        """Take the turn if it has come: 0; else seconds to look again, ``None``: when woken."""

    @abc.abstractmethod
    def withdraw(self) -> None:
        """Give the turn up."""

    def wake(self) -> None:
        """Have the waiter look again. From any thread, any time."""
        waker = self._waker
        if waker is not None:
            waker()

    def wait(self) -> None:
        """Block until it is this one's turn.

        Raises:
            ChannelAborted: The job of this thread was canceled meanwhile.
        """
        signal, owner = threading.Event(), OWNER.get()
        self._waker = signal.set
        if owner is not None:
            owner.add(signal.set)
        try:
            while True:
                signal.clear()
                if owner is not None:
                    owner.check()
                seconds = self._ready()
                if seconds == 0:
                    return
                signal.wait(seconds)
        except BaseException:
            self.withdraw()
            raise
        finally:
            self._waker = None
            if owner is not None:
                owner.remove(signal.set)

    def __await__(self) -> Generator[Any, None, None]:
        """Wait on the running event loop; a canceled job cancels the task that waits."""
        if self._ready() != 0:
            yield from self._on_loop().__await__()

    async def _on_loop(self) -> None:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:  # the loop was closed: nobody waits any more
                return

        self._waker = wake
        try:
            while True:
                woken.clear()
                seconds = self._ready()
                if seconds == 0:
                    return
                timer = None if seconds is None else loop.call_later(seconds, woken.set)
                try:
                    await woken.wait()
                finally:
                    if timer is not None:
                        timer.cancel()
        except BaseException:
            self.withdraw()
            raise
        finally:
            self._waker = None
