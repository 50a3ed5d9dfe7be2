"""``BERTScoreEvaluate``: likeness of answer and reference by contextual token vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from sage.lib.evaluate.metric import Metric, Scores
from sage.lib.types import Answer

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext
    from sage.lib.evaluate.token_vectors import Match, TokenEncoder


@attrs.frozen(kw_only=True)
class BERTScoreConfig:
    """Settings.

    Attributes:
        model: Folder of an encoder (config.json, safetensors weights, tokenizer), or a name that is
            in the hub's cache on this machine. Nothing is downloaded.
        layer: Which layer's output counts, from 1; default: the last. bert-score's choice for
            roberta-large is 17, for bert-base-uncased 9.
        device: ``cpu``, ``cuda`` ...
    """

    model: str
    layer: int | None = None
    device: str = "cpu"


class BERTScoreEvaluate(Metric):
    """Adds ``bertscore_precision``, ``bertscore_recall`` and ``bertscore_f1``.

    The best of each over the references, without idf weights and without rescaling; ``None`` when
    the question has no references. Equal to the package bert-score at batch size 1.
    Source: Zhang et al., BERTScore: Evaluating Text Generation with BERT, 2020.

    Raises:
        MissingExtraError: torch or transformers is not installed.

    Example:
        >>> stream.map(BERTScoreEvaluate, {"model": "models/roberta-large", "layer": 17})
    """

    Config = BERTScoreConfig
    metrics: tuple[str, ...] = ("bertscore_precision", "bertscore_recall", "bertscore_f1")
    _encoder: TokenEncoder

    def open(self, ctx: RuntimeContext) -> None:
        """Load the model.

        Raises:
            MissingExtraError: torch or transformers is not installed.
            ConfigError: It cannot be loaded.
        """
        from sage.lib.evaluate.token_vectors import TokenEncoder  # noqa: PLC0415 - NumPy, torch

        settings = self.config
        self._encoder = TokenEncoder(settings.model, layer=settings.layer, device=settings.device)

    def matches(self, answer: Answer) -> list[Match]:
        """The match with each reference."""
        from sage.lib.evaluate.token_vectors import match  # noqa: PLC0415

        found = self._encoder.encode(answer.text) if answer.query.answers else None
        return [match(found, self._encoder.encode(r)) for r in answer.query.answers if found]

    def score(self, answer: Answer) -> Scores:
        found = self.matches(answer)
        return {
            "bertscore_precision": max((m.precision for m in found), default=None),
            "bertscore_recall": max((m.recall for m in found), default=None),
            "bertscore_f1": max((m.f1 for m in found), default=None),
        }
