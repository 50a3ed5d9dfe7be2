"""Conformance suite of sources.

The author of a source subclasses it in a test module and says how the source is made, over the same
unchanged data every time::

    class TestMine(SourceSuite):
        @pytest.fixture
        def make(self, tmp_path):
            return lambda: MySource({"path": write_some_items(tmp_path)})

At least three items are expected. pytest then runs every contract below, on the source by itself
and in a job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from sage.api import LocalEnvironment

Make = Callable[[], Any]


class SourceSuite:
    """What every source keeps to."""

    seekable: ClassVar[bool] = True
    """Whether the source has ``offset`` and ``seek``."""

    @pytest.fixture
    def make(self) -> Make:
        """Makes a new source."""
        raise NotImplementedError

    def test_making_it_reads_nothing_and_running_it_ends(self, make: Make) -> None:
        make()
        assert len(list(make().run())) >= 3

    def test_the_same_data_gives_the_same_items(self, make: Make) -> None:
        assert list(make().run()) == list(make().run())

    def test_it_runs_in_a_job(self, make: Make) -> None:
        seen: list[Any] = []
        env = LocalEnvironment("source_suite")
        env.from_source(make()).sink(seen.append)
        env.submit().wait()
        assert seen == list(make().run())

    def test_it_can_be_stopped_after_any_item(self, make: Make) -> None:
        items = make().run()
        next(items)
        items.close()
        with pytest.raises(StopIteration):
            next(items)

    def test_it_goes_on_at_every_offset(self, make: Make) -> None:
        if not self.seekable:
            return
        everything = list(make().run())
        for count in range(len(everything) + 1):
            first = make()
            items = first.run()
            before = [next(items) for _ in range(count)]
            again = make()
            if count:
                again.seek(first.offset)
            assert before + list(again.run()) == everything
            items.close()

    def test_a_source_that_was_not_asked_yet_is_where_it_was_sent(self, make: Make) -> None:
        # A checkpoint may be taken before the first item after a restart.
        if not self.seekable:
            return
        first = make()
        items = first.run()
        next(items)
        again = make()
        again.seek(first.offset)
        assert again.offset == first.offset
        items.close()
