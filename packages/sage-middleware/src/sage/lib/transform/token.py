"""``TokenSplitter``: passages of a number of tokens."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from sage.lib.transform.spans import Measure, Span, cut_words
from sage.lib.transform.splitter import Splitter


class TokenSplitter(Splitter):
    """Cuts a document into passages of at most ``chunk_size`` tokens.

    A passage ends at white space where its second half has some, so words stay whole.
    ``start`` and ``end`` are characters: ``document.text[start:end] == passage.text``. A single
    character that is more than ``chunk_size`` tokens is a passage by itself.

    Example:
        >>> stream.flatmap(TokenSplitter, {"chunk_size": 256, "overlap": 32})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            chunk_size: Most tokens of a passage.
            overlap: Tokens of a passage, at most, that the next one repeats.
            tokenizer: ``simple``, ``tiktoken:ENCODING`` or ``tokenizers:PATH``
                (``sage.middleware.tokens``).
        """

        chunk_size: int = attrs.field(default=256, validator=attrs.validators.ge(1))
        overlap: int = attrs.field(default=0, validator=attrs.validators.ge(0))
        tokenizer: str = "simple"

    def measure(self) -> Measure:
        return Measure("tokens", self.config.tokenizer)

    def spans(self, text: str, measure: Measure) -> Iterator[Span]:
        return cut_words(text, 0, len(text), self.config.chunk_size, self.config.overlap, measure)
