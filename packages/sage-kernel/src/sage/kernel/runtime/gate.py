"""Where a task waits for its inputs: all its channels behind one signal."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time
from typing import Any

from sage.kernel.runtime.channel import Barrier, Channel, ChannelAborted, Signal

TIMER = -1
"""What ``InputGate.next`` returns as the index when the clock, not a record, woke it."""
BARRIER = -2
"""A barrier has come through all inputs that lead no loop back; it is the only item."""
LOOPED = -3
"""A barrier has come back through a feedback input; it and the index are the items."""


class InputGate:
    """Takes batches from several channels in turn.

    A channel that has come to a barrier is left alone until the others have (those that ended
    count as having): that is the moment at which the state of the task belongs to the checkpoint.

    Args:
        signal: Wakes the waiting task.
        channels: The inputs.
        feedback: Which of them lead back from the task's own loop.

    Attributes:
        idle_seconds: Time spent waiting for records.
    """

    __slots__ = (
        "_ended",
        "_feedback",
        "_next",
        "_on_wait",
        "_open",
        "_signal",
        "channels",
        "idle_seconds",
        "on_end",
    )

    def __init__(
        self, signal: Signal, channels: list[Channel], feedback: list[bool] | None = None
    ) -> None:
        self._signal = signal
        self.channels = channels
        self._feedback = feedback or [False] * len(channels)
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
        """The next batch and the index of its channel, or ``None`` at the end.

        Args:
            most: Most records to take.
            deadline: Unix time at which to return ``(TIMER, [])`` at the latest.

        Returns:
            Also ``(BARRIER, [barrier])`` and ``(LOOPED, [barrier, index])``.

        Raises:
            ChannelAborted: The job is being canceled.
        """
        channels = self.channels
        while True:
            shut = False
            for _ in range(len(channels)):
                at = self._next
                self._next = at + 1 if at + 1 < len(channels) else 0
                channel = channels[at]
                batch = channel.take(min(most, (channel.limit + 1) // 2))
                if channel.aborted:
                    raise ChannelAborted
                if batch:
                    return at, batch
                if channel.barrier is not None:
                    shut = True
                elif channel.closed and not self._ended[at] and not channel.items:
                    self._ended[at] = True
                    self._open -= 1
                    if self.on_end is not None:
                        self.on_end(at)
            if shut and (come := self.aligned()) is not None:
                return come
            if self._open == 0:
                return None
            if deadline is not None and time() >= deadline:
                return TIMER, []
            if self._on_wait is not None:
                self._on_wait()
            self._wait(deadline)

    def aligned(self) -> tuple[int, list[Any]] | None:
        """The barrier that has come through all inputs, if one has; they are open again then."""
        newest: Barrier | None = None
        for at, channel in enumerate(self.channels):
            barrier = channel.barrier
            if barrier is None:
                continue
            if self._feedback[at]:
                channel.pass_on()
                return LOOPED, [barrier, at]
            if newest is None or barrier.id > newest.id:
                newest = barrier
        if newest is None:
            return None
        complete = True
        for at, channel in enumerate(self.channels):
            if self._feedback[at]:
                continue
            barrier = channel.barrier
            if barrier is not None and barrier.id < newest.id:
                channel.pass_on()  # of a checkpoint that was given up
                complete = False
            elif barrier is None and not (channel.closed and not channel.items):
                complete = False
        if not complete:
            return None
        for at, channel in enumerate(self.channels):
            if channel.barrier is not None and not self._feedback[at]:
                channel.pass_on()
        return BARRIER, [newest]

    def _wait(self, deadline: float | None) -> None:
        for channel in self.channels:
            channel.waiting = True
        try:
            for at, channel in enumerate(self.channels):
                if channel.aborted or (
                    channel.barrier is None
                    and (channel.items or (channel.closed and not self._ended[at]))
                ):
                    return
            started = perf_counter()
            self._signal.wait(-1 if deadline is None else max(0.0, deadline - time()))
            self.idle_seconds += perf_counter() - started
        finally:
            for channel in self.channels:
                channel.waiting = False
