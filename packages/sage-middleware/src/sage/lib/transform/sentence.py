"""``SentenceSplitter``: passages of whole sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs

from sage.lib.adapt import as_document
from sage.lib.contracts import DocumentLike, TransformFunction
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

# Latin sentences end before white space, Chinese and Japanese ones anywhere; a blank line ends one.
_END = re.compile(
    r"[.!?…]+[\"'”’»)\]]*(?=\s)"
    r"|[。！？｡]+[”’」』）]*"
    r"|[।॥؟]+(?=\s|$)"
    r"|\n[ \t\r]*\n"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'“‘])"
    r"(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Prof|Sr|Jr|vs|No|Nos|Inc|Co|Ltd|Fig|Eq|cf|ca|al|etc|approx|Nr|bzw"
    r"|e\.g|i\.e|z\.B|d\.h|u\.a|[A-Z](?:\.[A-Z])+)\.$"
)
_LOWER = re.compile(r"\s+[a-zà-öø-ÿ]")


def sentences(text: str) -> list[Span]:
    """Sentences in order, white space at their ends left out.

    A full stop after an initial or a common abbreviation ends none, and neither does one before a
    lower-case letter.
    """
    found = []
    for start, end in split_after(text, 0, len(text), _ends(text)):
        bare = trim(text, start, end)
        if bare is not None:
            found.append(bare)
    return found


def _ends(text: str) -> Iterator[int]:
    for match in _END.finditer(text):
        if match[0][0] == "." and (
            _LOWER.match(text, match.end())
            or _ABBREVIATION.search(text[max(0, match.end() - 12) : match.end()])
        ):
            continue
        yield match.end()


class SentenceSplitter(TransformFunction):
    """Cuts a document into passages of whole sentences, joined up to ``chunk_size``.

    A sentence that is longer than that is cut at words. ``start`` and ``end`` are characters:
    ``document.text[start:end] == passage.text``.

    Example:
        >>> stream.flatmap(SentenceSplitter, {"chunk_size": 600, "overlap": 120})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            chunk_size: Most characters (or tokens, by ``unit``) of a passage.
            overlap: The next passage repeats as many whole sentences as fit this.
            unit: ``characters`` or ``tokens``.
            tokenizer: For ``tokens``: ``simple``, ``tiktoken:ENCODING`` or ``tokenizers:PATH``.
        """

        chunk_size: int = attrs.field(default=800, validator=attrs.validators.ge(1))
        overlap: int = attrs.field(default=0, validator=attrs.validators.ge(0))
        unit: str = attrs.field(default="characters", validator=attrs.validators.in_(UNITS))
        tokenizer: str = "simple"

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
        text, size = document.text, self.config.chunk_size
        atoms: list[Span] = []
        for start, end in sentences(text):
            if measure.fits(text, start, end, size):
                atoms.append((start, end))
            else:
                atoms += cut_words(text, start, end, size, 0, measure)
        yield from passages(document, pack(text, atoms, size, self.config.overlap, measure))

    def _load(self) -> Measure:
        self._measure = Measure(self.config.unit, self.config.tokenizer)
        return self._measure
