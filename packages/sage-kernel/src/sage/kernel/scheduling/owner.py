"""Whose wait it is: lets a job end the waits of its own calls, wherever they block.

A job makes one ``Owner`` and sets it in the context of its threads and coroutines; a wait asks for
the one of its context.

Successors: ``sage.kernel.scheduling.waiting``, ``sage.kernel.runtime.job``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.kernel.scheduling.job_budget import JobBudget

OWNER: ContextVar[Owner | None] = ContextVar("sage-owner", default=None)


class Owner:
    """The job on whose behalf calls wait.

    Args:
        canceled: What a wait raises once the owner is canceled.

    Attributes:
        over: Whether it is canceled.
        budget: The job's ``JobBudget``, where it has one.
    """

    def __init__(self, canceled: type[BaseException]) -> None:
        self._error = canceled
        self._lock = threading.Lock()
        self._wakes: set[Callable[[], None]] = set()
        self.over = False
        self.budget: JobBudget | None = None

    def check(self) -> None:
        """Raise the owner's error once it is canceled."""
        if self.over:
            raise self._error

    def add(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` when the owner is canceled."""
        with self._lock:
            self._wakes.add(wake)

    def remove(self, wake: Callable[[], None]) -> None:
        """Forget ``wake``."""
        with self._lock:
            self._wakes.discard(wake)

    def cancel(self) -> None:
        """End all waits, now and later. From any thread."""
        with self._lock:
            self.over = True
            wakes = list(self._wakes)
        for wake in wakes:
            wake()
