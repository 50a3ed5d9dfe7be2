"""``LostInTheMiddleReranker``: the best passages where models read best."""

from __future__ import annotations

import attrs

from sage.lib.adapt import as_retrieved
from sage.lib.contracts import RerankFunction, RetrievedLike
from sage.lib.types import Retrieved


class LostInTheMiddleReranker(RerankFunction):
    """Puts the best passages at both ends of the context and the weakest in the middle.

    Language models use the beginning and the end of a long context better than its middle. The
    passages must come best first: ranks 1 2 3 4 5 become 1 3 5 4 2. Scores stay as they are, so
    the order is no longer that of the scores: put this last, before the promptor.

    Source: N. Liu et al., Lost in the Middle: How Language Models Use Long Contexts, TACL 12, 2024.

    Example:
        >>> stream.map(LostInTheMiddleReranker, {"top_k": 10})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            top_k: Only so many of the best passages; default: all.
            best: Where the best passage goes: ``first`` or ``last``.
        """

        top_k: int | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
        )
        best: str = attrs.field(default="first", validator=attrs.validators.in_(("first", "last")))

    def execute(self, item: RetrievedLike) -> Retrieved:
        """Reorder the passages of one question.

        Raises:
            ItemError: The item holds no question.
        """
        retrieved = as_retrieved(item)
        best = retrieved.passages[: self.config.top_k]
        arranged = (*best[::2], *best[1::2][::-1])
        if self.config.best == "last":
            arranged = arranged[::-1]
        return attrs.evolve(retrieved, passages=arranged)
