"""``BLEUEvaluate``: overlap of word sequences with the references, by sacrebleu."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError, MissingExtraError
from sage.lib.evaluate.metric import Metric, Scores
from sage.lib.types import Answer

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

TOKENIZERS = ("13a", "char", "intl", "none", "zh")
"""Tokenizers of sacrebleu that need no further package and no download."""


class BLEUEvaluate(Metric):
    """Adds the score ``bleu`` in ``[0, 100]``, as sacrebleu gives it per sentence.

    Sentence BLEU with effective order and exponential smoothing; ``None`` without references. The
    mean over items is not corpus BLEU: see ``corpus_bleu``. The tokenizer makes a difference:
    state it with the number (sacrebleu's default is ``13a``).
    Source: Post, A Call for Clarity in Reporting BLEU Scores, 2018.

    Raises:
        MissingExtraError: sacrebleu is not installed.

    Example:
        >>> stream.map(BLEUEvaluate, {"tokenize": "zh"})
    """

    metrics = ("bleu",)

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            tokenize: ``13a``, ``intl``, ``zh``, ``char`` or ``none``.
            lowercase: Ignore case.
        """

        tokenize: str = attrs.field(default="13a", validator=attrs.validators.in_(TOKENIZERS))
        lowercase: bool = False

    _bleu: Any

    def open(self, ctx: RuntimeContext) -> None:
        """Load sacrebleu.

        Raises:
            MissingExtraError: It is not installed.
        """
        self._bleu = make_bleu(self.config.tokenize, self.config.lowercase, sentence=True)

    def score(self, answer: Answer) -> Scores:
        references = list(answer.query.answers)
        if not references:
            return {"bleu": None}
        return {"bleu": float(self._bleu.sentence_score(answer.text, references).score)}


def corpus_bleu(
    pairs: Iterable[tuple[str, Iterable[str]]], tokenize: str = "13a", lowercase: bool = False
) -> float | None:
    """BLEU of all answers together, in ``[0, 100]``; ``None`` when none has a reference.

    Args:
        pairs: Each answer with its references; those without references do not count.
        tokenize, lowercase: As for ``BLEUEvaluate``.

    Raises:
        MissingExtraError: sacrebleu is not installed.
        ConfigError: No such tokenizer.
    """
    if tokenize not in TOKENIZERS:
        raise ConfigError(f"tokenize must be one of {', '.join(TOKENIZERS)}, got {tokenize!r}")
    known = [(answer, list(references)) for answer, references in pairs]
    known = [(answer, references) for answer, references in known if references]
    if not known:
        return None
    most = max(len(references) for _, references in known)
    streams = [
        [references[i] if i < len(references) else None for _, references in known]
        for i in range(most)
    ]
    bleu = make_bleu(tokenize, lowercase, sentence=False)
    return float(bleu.corpus_score([answer for answer, _ in known], streams).score)


def make_bleu(tokenize: str, lowercase: bool, *, sentence: bool) -> Any:
    """The measure of sacrebleu; for sentences with the effective order."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as exc:
        raise MissingExtraError("sacrebleu", "eval", "BLEUEvaluate") from exc
    return BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=sentence)
