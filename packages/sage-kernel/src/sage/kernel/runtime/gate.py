"""Where a task waits for its inputs: all its channels behind one signal."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time
from typing import Any

from sage.kernel.runtime.channel import Channel, ChannelAborted, Signal

TIMER = -1
"""What ``InputGate.next`` returns as the index when the clock, not a record, woke it."""


class InputGate:
    """Takes batches from several channels in turn.

    Attributes:
        idle_seconds: Time spent waiting for records.
    """

    __slots__ = (
        "_ended",
        "_next",
        "_on_wait",
        "_open",
        "_signal",
        "channels",
        "idle_seconds",
        "on_end",
    )

    def __init__(self, signal: Signal, channels: list[Channel]) -> None:
        self._signal = signal
        self.channels = channels
        self._open = len(channels)
        self._ended = [False] * len(channels)
        self._next = 0
        self.idle_seconds = 0.0
        self._on_wait: Callable[[], None] | None = None
        self.on_end: Callable[[int], None] | None = None

    def before_wait(self, call: Callable[[], None]) -> None:
        """Call this whenever the task is about to wait (loops check whether they are done)."""
        self._on_wait = call

    def next(self, most: int, deadline: float | None = None) -> tuple[int, list[Any]] | None:
        """The next batch and the index of its channel, ``(TIMER, [])``, or ``None`` at the end.

        Args:
            most: Most records to take.
            deadline: Unix time at which to return ``TIMER`` at the latest.

        Raises:
            ChannelAborted: The job is being canceled.
        """
        channels = self.channels
        while True:
            for _ in range(len(channels)):
                at = self._next
                self._next = at + 1 if at + 1 < len(channels) else 0
                channel = channels[at]
                batch = channel.take(min(most, (channel.limit + 1) // 2))
                if channel.aborted:
                    raise ChannelAborted
                if batch:
                    return at, batch
                if channel.closed and not self._ended[at] and not channel.items:
                    self._ended[at] = True
                    self._open -= 1
                    if self.on_end is not None:
                        self.on_end(at)
            if self._open == 0:
                return None
            if deadline is not None and time() >= deadline:
                return TIMER, []
            if self._on_wait is not None:
                self._on_wait()
            self._wait(deadline)

    def _wait(self, deadline: float | None) -> None:
        for channel in self.channels:
            channel.waiting = True
        try:
            for at, channel in enumerate(self.channels):
                if channel.items or (channel.closed and not self._ended[at]) or channel.aborted:
                    return
            started = perf_counter()
            self._signal.wait(-1 if deadline is None else max(0.0, deadline - time()))
            self.idle_seconds += perf_counter() - started
        finally:
            for channel in self.channels:
                channel.waiting = False
