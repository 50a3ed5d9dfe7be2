"""A document as passages for a collection: under its headings, no longer than asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import attrs

from sage.api.functions import MapFunction
from sage.lib.transform import MarkdownSplitter, RecursiveSplitter
from sage.lib.types import Document

DROPPED = ("page_offsets",)
"""Metadata of a whole file that a passage does not need."""
CUT = 1
"""Raised when files are cut in another way, so that every file is cut again."""


class Passages(MapFunction[Document, list[Document]]):
    """Cuts a file into passages that know heading, page and place; none is on two pages.

    Sections are cut as ``MarkdownSplitter`` does (parsers give headings of all formats in that
    form); what is longer than ``chunk_size`` is cut further as ``RecursiveSplitter`` does, with
    ``overlap``. With ``headings`` the headings above a passage are its first line, so that it is
    found by them; ``start`` and ``end`` are those of the passage itself.
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            chunk_size: Characters of a passage, at most, without its headings.
            overlap: Characters that neighbours share, where a section is cut.
            headings: Put the headings above a passage into its text.
            metadata: Added to every passage.
        """

        chunk_size: int = attrs.field(default=800, validator=attrs.validators.ge(1))
        overlap: int = attrs.field(default=0, validator=attrs.validators.ge(0))
        headings: bool = True
        metadata: dict[str, Any] = attrs.field(factory=dict)

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        size, overlap = self.config.chunk_size, self.config.overlap
        self._sections = MarkdownSplitter({"max_chars": size})
        self._pieces = RecursiveSplitter({"chunk_size": size, "overlap": overlap})

    def execute(self, item: Document) -> list[Document]:
        """The passages of one document, in order."""
        offsets = item.metadata.get("page_offsets")
        kept = {key: value for key, value in item.metadata.items() if key not in DROPPED}
        named = str(kept.pop("title", "") or "")
        found = []
        for number, piece in enumerate(self._cut(item)):
            heading = str(piece.metadata.get("title") or "")
            metadata = {**kept, "title": heading or named, **self.config.metadata}
            if offsets:
                metadata["page"] = bisect_right(offsets, piece.start)
            text = piece.text
            if self.config.headings and heading and not text.startswith(heading):
                text = f"{heading}\n{text}"
            found.append(
                attrs.evolve(piece, id=f"{item.id}#{number}", text=text, metadata=metadata)
            )
        return found

    def _cut(self, document: Document) -> Iterator[Document]:
        for first, page in _pages(document):
            for section in self._sections.execute(page):
                short = len(section.text) <= self.config.chunk_size
                for piece in (section,) if short else self._pieces.execute(section):
                    start = first + (piece.start or 0)
                    if not short:
                        start += section.start or 0
                    yield attrs.evolve(
                        piece, start=start, end=start + len(piece.text), parent_id=document.id
                    )


def _pages(document: Document) -> Iterator[tuple[int, Document]]:
    """The pages of a document and the character each starts at; one, if it has none."""
    offsets = list(document.metadata.get("page_offsets") or (0,))
    for start, end in pairwise([*offsets, len(document.text)]):
        yield start, attrs.evolve(document, text=document.text[start:end])
