"""Base of the splitters: sizes checked, the tokenizer loaded once, spans made passages.

Predecessor: ``sage.lib.transform.spans``; successor: the splitters beside this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sage.lib.adapt import as_document
from sage.lib.contracts import DocumentLike, TransformFunction
from sage.lib.transform.spans import Measure, Span, check_sizes, passages
from sage.lib.types import Document


class Splitter(TransformFunction):
    """Cuts documents into passages; a subclass defines ``spans`` and, by tokens, ``measure``.

    Its ``Config`` has ``chunk_size`` and ``overlap``, which is smaller.
    """

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
        self._measure = self.measure()

    def execute(self, item: DocumentLike) -> Iterator[Document]:
        """Yield the passages of one document.

        Raises:
            ItemError: The item has no text.
        """
        document = as_document(item)
        if self._measure is None:  # called without a job
            self._measure = self.measure()
        yield from passages(document, self.spans(document.text, self._measure))

    def measure(self) -> Measure:
        """The unit of the sizes; called once. Raises as ``open``."""
        return Measure()

    def spans(self, text: str, measure: Measure) -> Iterable[Span]:
        """Where the passages of a text are, in order."""
        raise NotImplementedError
