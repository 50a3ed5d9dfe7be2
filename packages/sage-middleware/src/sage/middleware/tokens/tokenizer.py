"""The contract of a tokenizer as budgets need it."""

from __future__ import annotations

from typing import Protocol


class Tokenizer(Protocol):
    """Counts tokens and finds token boundaries. Thread-safe, deterministic."""

    @property
    def name(self) -> str:
        """Name that ``get_tokenizer`` takes."""

    def count(self, text: str) -> int:
        """Tokens in ``text``."""

    def cut(self, text: str, limit: int) -> int:
        """Character offset at which the first ``limit`` tokens of ``text`` end.

        ``text[:cut]`` has at most ``limit`` tokens; ``len(text)`` when all of it fits.
        """
