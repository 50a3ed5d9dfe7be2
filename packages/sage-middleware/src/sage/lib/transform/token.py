"""``TokenSplitter``: passages of a number of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from sage.lib.adapt import as_document
from sage.lib.contracts import DocumentLike, TransformFunction
from sage.lib.transform.spans import Measure, check_sizes, cut_words, passages
from sage.lib.types import Document


class TokenSplitter(TransformFunction):
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
        text, settings = document.text, self.config
        yield from passages(
            document,
            cut_words(text, 0, len(text), settings.chunk_size, settings.overlap, measure),
        )

    def _load(self) -> Measure:
        self._measure = Measure("tokens", self.config.tokenizer)
        return self._measure
