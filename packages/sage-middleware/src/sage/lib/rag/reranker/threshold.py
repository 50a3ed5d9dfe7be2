"""``ScoreThreshold``: drops what is not good enough."""

from __future__ import annotations

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_retrieved
from sage.lib.contracts import RerankFunction, RetrievedLike
from sage.lib.errors import ItemError
from sage.lib.types import Document, Retrieved


class ScoreThreshold(RerankFunction):
    """Keeps the passages whose score is high enough, in the order they came in.

    ``threshold`` is in the unit of the step before: a cosine after dense search, a probability
    after ``CrossEncoderReranker``; ``relative`` is a share of the best score of the question, which
    also suits scores without a bound, such as BM25's. With both, both must hold.

    Example:
        >>> stream.map(ScoreThreshold, {"relative": 0.5, "keep": 1})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            threshold: Least score.
            relative: Least share of the best score, 0 to 1. Where the best score is not above 0,
                nothing is dropped by it: shares mean nothing there.
            keep: So many of the best passages stay whatever their score.
            top_k: Most passages.
            unscored: What to do with a passage without a score: ``error``, ``keep`` or ``drop``.
        """

        threshold: float | None = None
        relative: float | None = attrs.field(
            default=None,
            validator=attrs.validators.optional(
                attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1))
            ),
        )
        keep: int = attrs.field(default=0, validator=attrs.validators.ge(0))
        top_k: int | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
        )
        unscored: str = attrs.field(
            default="error", validator=attrs.validators.in_(("error", "keep", "drop"))
        )

    def __init__(self, config: object = None, **overrides: object) -> None:
        super().__init__(config, **overrides)
        if self.config.threshold is None and self.config.relative is None:
            raise ConfigError("ScoreThreshold needs threshold or relative, or both")

    def execute(self, item: RetrievedLike) -> Retrieved:
        """Drop what scores too low.

        Raises:
            ItemError: The item holds no question, or a passage has no score.
        """
        retrieved = as_retrieved(item)
        passages = retrieved.passages
        scores = [d.score for d in passages if d.score is not None]
        best = max(scores, default=0.0)
        by_score = sorted(
            range(len(passages)),
            key=lambda n: -(passages[n].score or 0.0) if passages[n].score is not None else 1e300,
        )
        safe = set(by_score[: self.config.keep])
        kept = [d for n, d in enumerate(passages) if n in safe or self._enough(d, best)]
        return attrs.evolve(retrieved, passages=tuple(kept[: self.config.top_k]))

    def _enough(self, passage: Document, best: float) -> bool:
        settings = self.config
        if passage.score is None:
            if settings.unscored == "error":
                raise ItemError(
                    f"the passage {passage.id!r} has no score to compare; put ScoreThreshold after "
                    "a retriever or reranker, or set unscored to 'keep' or 'drop'",
                    item=passage.id,
                )
            return bool(settings.unscored == "keep")
        if settings.threshold is not None and passage.score < settings.threshold:
            return False
        return not (
            settings.relative is not None and best > 0 and passage.score < settings.relative * best
        )
