"""When a failed job starts again: the decisions of the restart strategies.

Pure: the caller gives the time and waits. Predecessor: ``sage.kernel.checkpoint.settings``.
"""

from __future__ import annotations

from collections import deque

from sage.kernel.checkpoint.settings import Restart


class RestartPolicy:
    """One job's restarts.

    Args:
        settings: The strategy and its numbers.
    """

    def __init__(self, settings: Restart) -> None:
        self._settings = settings
        self._restarts = 0
        self._failures: deque[float] = deque()

    def next_delay(self, now: float, ran: float) -> float | None:
        """The job failed: seconds to wait before it starts again, or ``None`` to let it fail.

        Args:
            now: Seconds on a clock that never goes back.
            ran: Seconds since it last started.
        """
        settings = self._settings
        if settings.strategy == "none":
            return None
        if settings.strategy == "failure_rate":
            self._failures.append(now)
            while self._failures[0] <= now - settings.window:
                self._failures.popleft()
            return settings.delay if len(self._failures) <= settings.attempts else None
        if settings.strategy == "exponential" and ran >= settings.window:
            self._restarts = 0
        if self._restarts >= settings.attempts:
            return None
        self._restarts += 1
        if settings.strategy == "fixed_delay":
            return settings.delay
        growth = settings.multiplier ** (self._restarts - 1)
        return min(settings.max_delay, settings.delay * growth)
