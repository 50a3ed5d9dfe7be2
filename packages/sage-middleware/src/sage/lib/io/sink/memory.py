"""``MemorySink``: keeps the items in a list."""

from __future__ import annotations

from typing import Any

from sage.lib.contracts import NoConfig, SinkFunction


class MemorySink(SinkFunction[Any]):
    """Appends every item to ``items``. Give the pipeline an instance, and read it afterwards.

    Example:
        >>> sink = MemorySink()
        >>> stream.sink(sink)
        >>> env.submit().wait()
        >>> sink.items
    """

    Config = NoConfig

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self.items: list[Any] = []

    def execute(self, item: Any) -> None:
        """Keep the item."""
        self.items.append(item)
