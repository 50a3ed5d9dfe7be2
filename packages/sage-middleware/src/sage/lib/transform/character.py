"""``CharacterSplitter``: passages of a number of characters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from sage.lib.adapt import as_document
from sage.lib.contracts import DocumentLike, TransformFunction
from sage.lib.transform.spans import (
    Measure,
    check_sizes,
    cut_words,
    pack,
    passages,
    split_after,
    trim,
)
from sage.lib.types import Document


class CharacterSplitter(TransformFunction):
    """Cuts a document into passages of at most ``chunk_size`` characters.

    Without a ``separator`` a passage ends at white space where its second half has some, so words
    stay whole. With one, the document is cut after each separator and the pieces are joined up to
    ``chunk_size``; a piece that is longer is cut at words. ``start`` and ``end`` are exact:
    ``document.text[start:end] == passage.text``.

    Example:
        >>> stream.flatmap(CharacterSplitter, {"chunk_size": 800, "overlap": 100})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        r"""Settings.

        Attributes:
            chunk_size: Most characters of a passage.
            overlap: Characters of a passage, at most, that the next one repeats.
            separator: A text after which to cut, such as ``"\n\n"``; default: white space.
        """

        chunk_size: int = attrs.field(default=800, validator=attrs.validators.ge(1))
        overlap: int = attrs.field(default=0, validator=attrs.validators.ge(0))
        separator: str | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.min_len(1))
        )

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        check_sizes(self.config.chunk_size, self.config.overlap)
        self._measure = Measure()

    def execute(self, item: DocumentLike) -> Iterator[Document]:
        """Yield the passages of one document.

        Raises:
            ItemError: The item has no text.
        """
        document = as_document(item)
        yield from passages(document, self._spans(document.text))

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        size, overlap, mark = self.config.chunk_size, self.config.overlap, self.config.separator
        if mark is None:
            yield from cut_words(text, 0, len(text), size, overlap, self._measure)
            return
        atoms = []
        for start, end in split_after(text, 0, len(text), _ends(text, mark)):
            bare = trim(text, start, end)
            if bare is None:
                continue
            if bare[1] - bare[0] <= size:
                atoms.append(bare)
            else:
                atoms += cut_words(text, *bare, size, 0, self._measure)
        yield from pack(text, atoms, size, overlap, self._measure)


def _ends(text: str, mark: str) -> Iterator[int]:
    at = text.find(mark)
    while at >= 0:
        yield at + len(mark)
        at = text.find(mark, at + len(mark))
