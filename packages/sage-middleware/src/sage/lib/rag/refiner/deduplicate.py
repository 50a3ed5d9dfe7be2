"""``Deduplicate``: each thing once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log, log1p
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_retrieved
from sage.lib.contracts import RefineFunction, RetrievedLike
from sage.lib.types import Document, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

MISSED = 0.01
"""Share of the pairs at the threshold that ``minhash`` may miss."""

METHODS = ("exact", "shingles", "minhash", "embedding")


class Deduplicate(RefineFunction):
    """Drops passages that repeat an earlier (better) one.

    - ``exact``: same text but for case, white space and punctuation.
    - ``shingles``: runs of ``shingle`` words; the similarity is the Jaccard coefficient of the two
      sets, or with ``measure="containment"`` the share of the smaller set that the larger has,
      which also finds overlapping chunks.
    - ``minhash``: the same Jaccard coefficient, for lists of thousands: only pairs that MinHash
      signatures bring together are compared.
    - ``embedding``: cosine of embeddings, which finds rewordings too.

    The kept passage's ``metadata["duplicates"]`` has the ids of those dropped for it.

    Source: A. Broder, On the resemblance and containment of documents, SEQUENCES 1997.

    Example:
        >>> stream.map(Deduplicate, {"method": "shingles", "threshold": 0.8})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            method: See the class.
            threshold: Least similarity of a duplicate, above 0 to 1; not for ``exact``. Default:
                0.8, and 0.95 for ``embedding``.
            measure: ``jaccard`` or ``containment``; for ``shingles``.
            shingle: Words per shingle.
            permutations: Length of a MinHash signature. The lower the threshold, the longer it
                must be: a pair at the threshold is found with a probability of at least 0.99.
            embed: ``text -> vector``, an ``EmbeddingModel`` or the name of one; for ``embedding``;
                default: the default embedding model.
        """

        method: str = attrs.field(default="shingles", validator=attrs.validators.in_(METHODS))
        threshold: float | None = attrs.field(
            default=None,
            validator=attrs.validators.optional(
                attrs.validators.and_(attrs.validators.gt(0), attrs.validators.le(1))
            ),
        )
        measure: str = attrs.field(
            default="jaccard", validator=attrs.validators.in_(("jaccard", "containment"))
        )
        shingle: int = attrs.field(default=3, validator=attrs.validators.ge(1))
        permutations: int = attrs.field(default=128, validator=attrs.validators.ge(8))
        embed: Any = None

    _embedding: Any = None

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        embedded = settings.method == "embedding"
        self._threshold: float = settings.threshold or (0.95 if embedded else 0.8)
        if settings.method == "minhash":
            # One permutation misses a pair with a probability of 1 - threshold.
            needed = ceil(log(MISSED) / log1p(-self._threshold)) if self._threshold < 1 else 1
            if settings.permutations < needed:
                raise ConfigError(
                    f"Deduplicate: permutations must be at least {needed} for threshold "
                    f"{self._threshold:g}, got {settings.permutations}: fewer would miss pairs"
                )

    def open(self, ctx: RuntimeContext) -> None:
        """Load the embedding model where it is needed.

        Raises:
            ConfigError: ``embed`` is not known.
        """
        if self.config.method == "embedding":
            from sage.lib.rag.retriever.embedding import Embedding  # noqa: PLC0415 - NumPy

            self._embedding = Embedding(self.config.embed)

    def execute(self, item: RetrievedLike) -> Retrieved:
        """Drop the repetitions among the passages of one question.

        Raises:
            ItemError: The item holds no question.
        """
        retrieved = as_retrieved(item)
        passages = retrieved.passages
        if len(passages) < 2:
            return retrieved
        original: dict[int, int] = {}
        for first, second in self._pairs([d.text for d in passages]):
            # What repeats a dropped passage need not repeat the one that was kept for it.
            if first not in original and second not in original:
                original[second] = first
        return attrs.evolve(retrieved, passages=_kept(passages, original))

    def close(self) -> None:
        """Close the model if it was made here."""
        if self._embedding is not None:
            self._embedding.close()
            self._embedding = None

    def _pairs(self, texts: Sequence[str]) -> Iterable[tuple[int, int]]:
        from sage.lib.rag.refiner import similarity  # noqa: PLC0415 - NumPy

        settings = self.config
        if settings.method == "exact":
            return similarity.same(texts)
        if settings.method == "embedding":
            return similarity.near(self._embedding.documents(texts), self._threshold)
        sets = [similarity.shingles(text, settings.shingle) for text in texts]
        if settings.method == "minhash":
            return similarity.by_minhash(sets, self._threshold, settings.permutations)
        return similarity.alike(sets, self._threshold, settings.measure)


def _kept(passages: Sequence[Document], original: dict[int, int]) -> tuple[Document, ...]:
    repeats: dict[int, list[str]] = {}
    for second, first in sorted(original.items()):
        repeats.setdefault(first, []).append(passages[second].id)
    return tuple(
        attrs.evolve(d, metadata={**d.metadata, "duplicates": repeats[n]}) if n in repeats else d
        for n, d in enumerate(passages)
        if n not in original
    )
