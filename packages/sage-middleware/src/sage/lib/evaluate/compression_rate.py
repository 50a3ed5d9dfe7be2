"""``CompressionRateEvaluate``: what part of the passages was left by the refiners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from sage.lib.evaluate.metric import PassageMetric, Scores
from sage.lib.types import Answer, Document

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext
    from sage.middleware.tokens.tokenizer import Tokenizer


class CompressionRateEvaluate(PassageMetric):
    """Adds ``compression_rate``: tokens of the passages now, over their tokens before refining.

    1 is unchanged, 0.25 a quarter. What was before is read from the passages' metadata: a text or
    a number of tokens under ``original``; a passage without it was not changed. Passages that were
    dropped whole count when the answer's metadata has the tokens of all under that key. ``None``
    without passages.

    Example:
        >>> stream.map(CompressionRateEvaluate, {"original": "original_text"})
    """

    metrics = ("compression_rate",)

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            original: Key of the metadata.
            tokenizer: Name of the tokenizer that counts.
        """

        original: str = "original_text"
        tokenizer: str = "simple"

    _tokenizer: Tokenizer

    def open(self, ctx: RuntimeContext) -> None:
        """Load the tokenizer.

        Raises:
            ConfigError: There is none of that name.
        """
        from sage.middleware.tokens import get_tokenizer  # noqa: PLC0415

        self._tokenizer = get_tokenizer(self.config.tokenizer)

    def score(self, answer: Answer) -> Scores:
        now = sum(self._tokenizer.count(d.text) for d in answer.passages)
        total = answer.metadata.get(self.config.original)
        before = (
            self._size(total)
            if total is not None
            else sum(self._before(d) for d in answer.passages)
        )
        return {"compression_rate": now / before if before else None}

    def _before(self, passage: Document) -> int:
        given = passage.metadata.get(self.config.original)
        return self._tokenizer.count(passage.text) if given is None else self._size(given)

    def _size(self, given: object) -> int:
        return given if isinstance(given, int) else self._tokenizer.count(str(given))
