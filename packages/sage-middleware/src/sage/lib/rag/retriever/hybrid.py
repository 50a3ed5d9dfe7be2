"""``HybridRetriever``: passages by vectors and words together."""

from __future__ import annotations

import attrs

from sage.lib.rag.retriever.base import Retriever, RetrieverConfig
from sage.lib.rag.retriever.fusing import DEPTH, RRF_K, Fusing


@attrs.frozen(kw_only=True)
class HybridConfig(RetrieverConfig):
    """Settings of ``HybridRetriever``: those of every retriever, and how rankings are fused.

    Attributes:
        fusion: ``auto`` (a weight for each query, by how sure either side is of it), ``convex``
            (one weight over scores scaled to ``[0, 1]``) or ``rrf`` (reciprocal ranks).
        weight: Share of the dense side, 0 to 1. For ``convex`` and ``rrf`` 0.5 by default; with
            ``auto`` a given weight takes the place of the chosen one.
        rrf_k: How little the first places stand out in ``rrf``.
        depth: How many of each ranking are fused.
    """

    fusion: str = attrs.field(
        default="auto", validator=attrs.validators.in_(("auto", "convex", "rrf"))
    )
    weight: float | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1))
        ),
    )
    rrf_k: float = attrs.field(default=RRF_K, validator=attrs.validators.gt(0))
    depth: int = attrs.field(default=DEPTH, validator=attrs.validators.ge(1))


class HybridRetriever(Retriever):
    """Fuses dense and BM25 search: good also where one of the two is weak.

    Scores are for one question only: 0 to 1 with ``auto`` and ``convex``, below ``1 / rrf_k`` with
    ``rrf``. No fixed setting of ``convex`` or ``rrf`` is good everywhere; ``auto`` is the default
    because it follows the better side.

    Source: see ``sage.middleware.search.fusion``.

    Example:
        >>> stream.map(HybridRetriever, {"collection_name": "knowledge_base"})
    """

    Config = HybridConfig
    default_mode = "hybrid"

    def _fusing(self) -> Fusing:
        settings: HybridConfig = self.config
        return Fusing(
            method=settings.fusion,
            weight=settings.weight,
            rrf_k=settings.rrf_k,
            depth=settings.depth,
        )
