"""``RecursiveSplitter``: passages that end at the largest boundary that fits."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from sage.lib.transform.sentence import sentences
from sage.lib.transform.spans import (
    UNITS,
    Measure,
    Span,
    cut_words,
    ends_of,
    pack,
    split_after,
    trim,
)
from sage.lib.transform.splitter import Splitter

SENTENCE = "sentence"
DEFAULT_SEPARATORS = ("\n\n", "\n", SENTENCE)


class RecursiveSplitter(Splitter):
    """Cuts a document at paragraphs; what is too long at lines, then sentences, then words.

    The pieces are joined, in order, up to ``chunk_size``, so a passage holds whole paragraphs where
    it can. Nothing but white space at the ends of passages is lost, separators included.
    ``start`` and ``end`` are characters: ``document.text[start:end] == passage.text``.

    Example:
        >>> stream.flatmap(RecursiveSplitter, {"chunk_size": 800, "overlap": 100})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            chunk_size: Most characters (or tokens, by ``unit``) of a passage.
            overlap: The next passage repeats as many whole pieces as fit this.
            unit: ``characters`` or ``tokens``.
            tokenizer: For ``tokens``: ``simple``, ``tiktoken:ENCODING`` or ``tokenizers:PATH``.
            separators: Texts after which to cut, strongest first; the word ``sentence`` stands for
                the end of a sentence. Words are always the last resort.
        """

        chunk_size: int = attrs.field(default=800, validator=attrs.validators.ge(1))
        overlap: int = attrs.field(default=0, validator=attrs.validators.ge(0))
        unit: str = attrs.field(default="characters", validator=attrs.validators.in_(UNITS))
        tokenizer: str = "simple"
        separators: tuple[str, ...] = attrs.field(
            default=DEFAULT_SEPARATORS,
            validator=attrs.validators.deep_iterable(attrs.validators.min_len(1)),
        )

    def measure(self) -> Measure:
        return Measure(self.config.unit, self.config.tokenizer)

    def spans(self, text: str, measure: Measure) -> Iterator[Span]:
        atoms = list(self._atoms(text, 0, len(text), 0, measure))
        return pack(text, atoms, self.config.chunk_size, self.config.overlap, measure)

    def _atoms(
        self, text: str, start: int, end: int, level: int, measure: Measure
    ) -> Iterator[Span]:
        """Pieces that fit; the recursion is as deep as there are separators."""
        bare = trim(text, start, end)
        if bare is None:
            return
        size, separators = self.config.chunk_size, self.config.separators
        # A piece that fits is still cut where a passage may end, so that packing and overlap can
        # choose; only the strongest separators count for that.
        if level > 0 and measure.fits(text, *bare, size):
            yield bare
        elif level == len(separators):
            yield from cut_words(text, *bare, size, 0, measure)
        else:
            for inner in _split(text, *bare, separators[level]):
                yield from self._atoms(text, *inner, level + 1, measure)


def _split(text: str, start: int, end: int, separator: str) -> list[Span]:
    if separator == SENTENCE:
        piece = text[start:end]
        return [(start + s, start + e) for s, e in sentences(piece)]
    return split_after(text, start, end, ends_of(text, separator, start, end))
