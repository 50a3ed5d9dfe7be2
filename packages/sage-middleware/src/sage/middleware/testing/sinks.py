"""Conformance suite of sinks.

The author of a sink subclasses it in a test module and says how the sink is made and how what it
wrote is read back::

    class TestMine(SinkSuite):
        @pytest.fixture
        def make(self, tmp_path):
            return lambda: MySink({"path": str(tmp_path / "out")})

        @pytest.fixture
        def written(self, tmp_path):
            return lambda: read_back(tmp_path / "out")      # [{"id": ..., "text": ...}, ...]

The items are mappings with a text ``id`` and a ``text``. pytest then runs every contract below in
jobs on the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from sage.api import LocalEnvironment

ITEMS = tuple(
    {"id": f"{n:03}", "text": text}
    for n, text in enumerate(["plain", "Ünïcode 中文 👩", "two\nlines", "'; drop", '"', ""] * 20)
)


class SinkSuite:
    """What every sink keeps to."""

    idempotent: ClassVar[bool] = False
    """Whether writing an item again changes nothing."""

    @pytest.fixture
    def make(self) -> Callable[[], Any]:
        """Makes a new sink over the same destination."""
        raise NotImplementedError

    @pytest.fixture
    def written(self) -> Callable[[], list[dict[str, Any]]]:
        """Reads back what is at the destination."""
        raise NotImplementedError

    def run(self, sink: Any, items: Any = ITEMS) -> None:
        """Send the items to a sink, in a job."""
        env = LocalEnvironment("sink_suite")
        env.from_collection(items).sink(sink)
        env.submit().wait()

    def test_every_item_arrives_once(self, make: Any, written: Any) -> None:
        self.run(make())
        found = sorted(written(), key=lambda item: item["id"])
        assert [(item["id"], item["text"]) for item in found] == [
            (item["id"], item["text"]) for item in ITEMS
        ]

    def test_no_items_write_nothing(self, make: Any, written: Any) -> None:
        self.run(make(), ())
        assert written() == []

    def test_writing_again_changes_nothing(self, make: Any, written: Any) -> None:
        if not self.idempotent:
            return
        for _ in range(2):
            self.run(make())
        assert len(written()) == len(ITEMS)
