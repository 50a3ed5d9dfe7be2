"""Records that come back through a loop while a checkpoint goes round it.

The head of a loop saves its state when the barrier has come from outside. What comes back until the
barrier itself does was on its way at that moment: it is saved with the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sage.kernel.runtime.channel import Channel


class LoopLog:
    """For one task with feedback inputs.

    Args:
        inputs: Index of a feedback input -> its channel.
        save: ``save(index, nth, batch, first position of the batch)`` gives a part: name, bytes.
        acknowledge: Called with the checkpoint and all parts once the barrier has come back.
    """

    def __init__(
        self,
        inputs: dict[int, Channel],
        save: Callable[[int, int, list[Any]], tuple[str, bytes]],
        acknowledge: Callable[[int, dict[str, bytes]], None],
    ) -> None:
        self._inputs = inputs
        self._save = save
        self._acknowledge = acknowledge
        self._checkpoint: int | None = None
        self._parts: dict[str, bytes] = {}
        self._waiting: set[int] = set()
        self._count = 0

    def begin(self, checkpoint: int, parts: dict[str, bytes]) -> None:
        """The task has saved its state; an unfinished round before is given up."""
        self._checkpoint, self._parts = checkpoint, parts
        self._waiting = {at for at, channel in self._inputs.items() if not channel.ended}
        self._count = 0
        self._check()

    def came(self, at: int, batch: list[Any]) -> None:
        """Records of input ``at``, before they are worked on."""
        if at in self._waiting:
            name, data = self._save(at, self._count, batch)
            self._parts[name] = data
            self._count += 1

    def returned(self, at: int, checkpoint: int) -> None:
        """The barrier is back at input ``at``."""
        if checkpoint == self._checkpoint:
            self._waiting.discard(at)
            self._check()

    def ended(self, at: int) -> None:
        """Input ``at`` has ended."""
        self._waiting.discard(at)
        self._check()

    def _check(self) -> None:
        if self._checkpoint is not None and not self._waiting:
            number, parts = self._checkpoint, self._parts
            self._checkpoint, self._parts = None, {}
            self._acknowledge(number, parts)
