"""Conformance suites of transforms: documents in, documents out.

The author of a transform subclasses a suite in a test module and says how the operator is made::

    class TestMine(SplitterSuite):
        def make(self):
            return MySplitter({"chunk_size": 50})

pytest then runs every contract below, on the operator by itself and in a job.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import pytest

from sage.api import LocalEnvironment
from sage.api.context import RuntimeContext

TEXTS = (
    "One sentence.",
    "First paragraph, one line.\n\nSecond paragraph. It has two sentences.\n\n\nThird\nof lines.",
    "word " * 200,
    "x" * 500,
    "Straße und Übermut: 3,5 % mehr. Dr. Who kam um 8 Uhr. Ende!",
    "这是第一句。这是第二句！还有第三句？" * 10,
    "emoji 👩‍👩‍👧 and combining e\u0301 " * 20,
    "tabs\tand\r\nwindows lines\r\n\r\nend",
)


class TransformSuite:
    """What every transform of documents keeps to."""

    def make(self) -> Any:
        """A new operator."""
        raise NotImplementedError

    def documents(self) -> list[Any]:
        """What it is given: mappings with ``id``, ``text`` and ``metadata`` by default."""
        return [
            {"id": f"d{n}", "text": text, "metadata": {"source": "suite", "n": n}}
            for n, text in enumerate(TEXTS)
        ]

    def run(self, *items: Any) -> list[Any]:
        """What the operator makes of the items, in order."""
        operator = self.make()
        operator.open(RuntimeContext(job_id="j", job_name="suite", operator="t", uid="t"))
        try:
            return [found for item in items for found in outputs(operator, item)]
        finally:
            operator.close()

    def test_results_are_documents_with_text_and_unique_ids(self) -> None:
        found = self.run(*self.documents())
        assert found
        assert all(isinstance(each.text, str) and isinstance(each.id, str) for each in found)
        assert len({each.id for each in found}) == len(found)

    def test_the_same_input_gives_the_same_output(self) -> None:
        assert self.run(*self.documents()) == self.run(*self.documents())

    def test_an_item_that_is_no_document_is_refused(self) -> None:
        with pytest.raises(ValueError, match="42"):  # ItemError is one
            self.run(42)

    def test_it_runs_in_a_job(self) -> None:
        collected: list[Any] = []
        env = LocalEnvironment("transform_suite")
        stream = env.from_collection(self.documents())
        operator = self.make()
        step = stream.map if operator.kind == "map" else stream.flatmap
        step(operator).sink(collected.append)
        env.submit().wait()
        assert collected == self.run(*self.documents())


class SplitterSuite(TransformSuite):
    """What every splitter keeps to besides: exact offsets, nothing lost."""

    loses: ClassVar[bool] = False
    """Whether text other than white space may be left out (headings, for instance)."""

    def test_offsets_are_exact(self) -> None:
        for given in self.documents():
            for found in self.run(given):
                assert found.text == given["text"][found.start : found.end]
                assert found.parent_id == given["id"]
                assert found.text.strip()

    def test_metadata_go_along(self) -> None:
        for given in self.documents():
            for found in self.run(given):
                assert given["metadata"].items() <= dict(found.metadata).items()

    def test_passages_are_in_order(self) -> None:
        for given in self.documents():
            starts = [found.start for found in self.run(given)]
            assert starts == sorted(set(starts))

    def test_nothing_but_white_space_is_lost(self) -> None:
        if self.loses:
            return
        for given in self.documents():
            text = given["text"]
            covered = [False] * len(text)
            for found in self.run(given):
                covered[found.start : found.end] = [True] * (found.end - found.start)
            lost = "".join(char for char, kept in zip(text, covered, strict=True) if not kept)
            assert not lost.strip()

    def test_an_empty_document_has_no_passages(self) -> None:
        assert self.run({"id": "e", "text": ""}, {"id": "f", "text": " \n\t\n "}) == []


def outputs(operator: Any, item: Any) -> Iterable[Any]:
    """What ``execute`` gives for an item, as an iterable."""
    if operator.kind == "map":
        return [operator.execute(item)]
    return operator.execute(item) or ()
