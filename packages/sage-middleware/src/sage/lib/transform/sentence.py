"""``SentenceSplitter``: passages of whole sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from sage.lib.transform.spans import (
    UNITS,
    Measure,
    Span,
    cut_long,
    pack,
    split_after,
)
from sage.lib.transform.splitter import Splitter

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
    return split_after(text, 0, len(text), _ends(text))


def _ends(text: str) -> Iterator[int]:
    for match in _END.finditer(text):
        if match[0][0] == "." and (
            _LOWER.match(text, match.end())
            or _ABBREVIATION.search(text[max(0, match.end() - 12) : match.end()])
        ):
            continue
        yield match.end()


class SentenceSplitter(Splitter):
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

    def measure(self) -> Measure:
        return Measure(self.config.unit, self.config.tokenizer)

    def spans(self, text: str, measure: Measure) -> Iterator[Span]:
        size = self.config.chunk_size
        atoms = cut_long(text, sentences(text), size, measure)
        return pack(text, atoms, size, self.config.overlap, measure)
