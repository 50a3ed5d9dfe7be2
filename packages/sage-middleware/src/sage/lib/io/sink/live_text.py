"""Answers on a terminal while they are being written.

One answer is shown at a time; pieces of others and items that are complete meanwhile wait until its
last piece. Predecessor: ``sage.lib.streaming``; successor: ``sage.lib.io.sink.terminal``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from sage.lib.types import Query

Key = tuple[str, str]
KEPT = 1000
"""Answers that were shown and whose items have not come yet."""


class LiveText:
    """Writes pieces and complete items without mixing them up.

    Args:
        write: Writes text at once.
        clean: Takes control characters out of untrusted text.
    """

    def __init__(self, write: Callable[[str], object], clean: Callable[[str], str]) -> None:
        self._write = write
        self._clean = clean
        self._lock = threading.Lock()
        self._pieces: dict[Key, list[str]] = {}
        self._ended: set[Key] = set()
        self._current: Key | None = None
        self._last: Key | None = None
        self._shown: dict[Key, None] = {}
        self._items: deque[tuple[Key, str, str]] = deque()

    def piece(self, query: Query, text: str | None) -> None:
        """Take the next piece of an answer, or ``None`` at its end."""
        key = (query.id, query.text)
        with self._lock:
            if text is None:
                if key in self._pieces:
                    self._ended.add(key)
                    self._go_on()
            elif key == self._current:
                self._write(self._clean(text))
            else:
                self._pieces.setdefault(key, []).append(text)
                self._go_on()

    def item(self, query: Query, whole: str, rest: str) -> None:
        """Take a complete item.

        Args:
            query: Its question.
            whole: How it is shown.
            rest: How it is shown right under its answer.
        """
        with self._lock:
            self._items.append(((query.id, query.text), whole, rest))
            self._go_on()

    def close(self) -> None:
        """Show what still waits."""
        with self._lock:
            self._ended.update(self._pieces)
            self._go_on()

    def _go_on(self) -> None:
        while True:
            if self._current is not None:
                if self._current not in self._ended:
                    return
                self._write("\n")
                self._ended.discard(self._current)
                del self._pieces[self._current]
                self._shown[self._current] = None
                if len(self._shown) > KEPT:  # items that never came here
                    del self._shown[next(iter(self._shown))]
                self._last, self._current = self._current, None
            if self._items:
                key, whole, rest = self._items.popleft()
                # Its pieces, if they were not shown, are not shown any more.
                if self._pieces.pop(key, None) is not None:
                    self._ended.discard(key)
                self._write(self._of(key, whole, rest) + "\n")
                self._last = None
            elif self._pieces:
                self._current = next(iter(self._pieces))
                head = f"Question: {self._clean(self._current[1])}\nAnswer:   "
                self._write(head + self._clean("".join(self._pieces[self._current])))
            else:
                return

    def _of(self, key: Key, whole: str, rest: str) -> str:
        if key not in self._shown:
            return whole
        del self._shown[key]
        return rest if key == self._last else f"Question: {self._clean(key[1])}\n{rest}"
