"""Sinks of the engine itself: ``print`` and ``discard``."""

from __future__ import annotations

import sys
from typing import Any

from sage.api.functions import SinkFunction


class PrintSink(SinkFunction[Any]):
    """Writes items to standard output, one line each.

    Config: ``prefix`` (put before each item) and ``limit`` (lines at most, ``None``: all).
    """

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config or {}
        self.prefix: str = settings.get("prefix", "")
        self.limit: int | None = settings.get("limit")
        self.written = 0

    def execute(self, item: Any) -> None:
        if self.limit is None or self.written < self.limit:
            self.written += 1
            sys.stdout.write(f"{self.prefix}{item}\n")

    def close(self) -> None:
        sys.stdout.flush()


class DiscardSink(SinkFunction[Any]):
    """Drops every item."""

    def execute(self, item: Any) -> None:
        return None
