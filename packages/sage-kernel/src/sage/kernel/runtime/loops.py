"""When a feedback loop is done: nothing in it, and nothing more coming from outside.

Every channel that leads into a step of the loop counts the records put into it (before they are
visible) and the records whose processing ended (after all their outputs were put). Both only grow.
If the completed counts, read first, equal the produced counts, read after them, then the loop was
empty at the moment between; if all channels from outside had been closed before, it stays empty.
"""

from __future__ import annotations

from sage.kernel.runtime.channel import Channel


class LoopGuard:
    """Closes the feedback channels of one loop when it is done."""

    __slots__ = ("_channels", "_done", "_feedback", "_outside")

    def __init__(self) -> None:
        self._channels: list[Channel] = []
        self._feedback: list[Channel] = []
        self._outside: list[Channel] = []
        self._done = False

    def add(self, channel: Channel, *, feedback: bool, outside: bool) -> None:
        """Register a channel that leads into the loop."""
        self._channels.append(channel)
        if feedback:
            self._feedback.append(channel)
        if outside:
            self._outside.append(channel)

    def check(self) -> None:
        """Close the feedback if the loop is done. Tasks of the loop call it before they wait."""
        if self._done or not all(channel.closed for channel in self._outside):
            return
        completed = sum(channel.completed for channel in self._channels)
        produced = sum(channel.produced for channel in self._channels)
        if completed == produced:
            self._done = True
            for channel in self._feedback:
                channel.close()
