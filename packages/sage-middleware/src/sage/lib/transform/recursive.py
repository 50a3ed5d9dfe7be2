"""``RecursiveSplitter``: passages that end at the largest boundary that fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from sage.lib.adapt import as_document
from sage.lib.contracts import DocumentLike, TransformFunction
from sage.lib.transform.sentence import sentences
from sage.lib.transform.spans import (
    UNITS,
    Measure,
    Span,
    check_sizes,
    cut_words,
    pack,
    passages,
    split_after,
    trim,
)
from sage.lib.types import Document

SENTENCE = "sentence"
DEFAULT_SEPARATORS = ("\n\n", "\n", SENTENCE)


class RecursiveSplitter(TransformFunction):
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

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        check_sizes(self.config.chunk_size, self.config.overlap)
        self._measure: Measure | None = None

    def open(self, ctx: Any) -> None:
        """Load the tokenizer.

        Raises:
            ConfigError: No tokenizer has that name.
            MissingExtraError: Its package is not installed.
        """
        self._load()

    def execute(self, item: DocumentLike) -> Iterator[Document]:
        """Yield the passages of one document.

        Raises:
            ItemError: The item has no text.
        """
        document = as_document(item)
        measure = self._measure or self._load()
        settings = self.config
        atoms = list(self._atoms(document.text, 0, len(document.text), 0, measure))
        yield from passages(
            document, pack(document.text, atoms, settings.chunk_size, settings.overlap, measure)
        )

    def _load(self) -> Measure:
        self._measure = Measure(self.config.unit, self.config.tokenizer)
        return self._measure

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
    return split_after(text, start, end, _ends(text, separator, start, end))


def _ends(text: str, separator: str, start: int, end: int) -> Iterator[int]:
    at = text.find(separator, start, end)
    while at >= 0:
        yield at + len(separator)
        at = text.find(separator, at + len(separator), end)
