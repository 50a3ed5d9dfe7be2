"""``CharacterSplitter``: passages of a number of characters."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from sage.lib.transform.spans import (
    Measure,
    Span,
    cut_long,
    cut_words,
    ends_of,
    pack,
    split_after,
)
from sage.lib.transform.splitter import Splitter


class CharacterSplitter(Splitter):
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

    def spans(self, text: str, measure: Measure) -> Iterator[Span]:
        size, overlap, mark = self.config.chunk_size, self.config.overlap, self.config.separator
        if mark is None:
            return cut_words(text, 0, len(text), size, overlap, measure)
        pieces = split_after(text, 0, len(text), ends_of(text, mark, 0, len(text)))
        return pack(text, cut_long(text, pieces, size, measure), size, overlap, measure)
