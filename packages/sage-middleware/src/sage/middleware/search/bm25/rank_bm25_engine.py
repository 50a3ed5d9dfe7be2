"""The package ``rank-bm25`` with the interface of ``BM25Index``: a well-known yardstick."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sage.common.errors import MissingExtraError
from sage.middleware.search.bm25.index import Slots
from sage.middleware.search.bm25.kept_texts import read_texts, write_texts
from sage.middleware.search.bm25.segment import Floats
from sage.middleware.search.text.analyzer import Analyzer


class RankBM25Engine:
    """``BM25Okapi`` over all texts, made anew before the first search after a change.

    Its idf of a term in more than half of the documents is replaced by a share of the mean, so
    scores are not those of ``BM25Index``, and may be below 0; only positive ones are returned.

    Args:
        k1: See ``BM25Index``.
        b: See ``BM25Index``.
        language: See ``BM25Index``; ``"auto"`` means English here.
        stemming: See ``BM25Index``.
        stop_words: See ``BM25Index``.

    Raises:
        MissingExtraError: ``rank-bm25`` is not installed.
    """

    def __init__(
        self,
        *,
        k1: float = 1.2,
        b: float = 0.75,
        language: str = "auto",
        stemming: bool = True,
        stop_words: bool = True,
    ) -> None:
        try:
            from rank_bm25 import BM25Okapi  # noqa: PLC0415  (an extra)
        except ImportError as exc:
            raise MissingExtraError("rank_bm25", "eval", "The BM25 engine 'rank-bm25'") from exc
        self._okapi = BM25Okapi
        self._options = {
            "k1": k1,
            "b": b,
            "language": language,
            "stemming": stemming,
            "stop_words": stop_words,
        }
        self._analyzer = Analyzer(
            "en" if language == "auto" else language, stemming=stemming, stop_words=stop_words
        )
        self._texts: dict[int, str] = {}
        self._built: Any = None
        self._order: Slots = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, slots: Iterable[int], texts: Iterable[str]) -> None:
        """See ``BM25Index``."""
        self._texts.update(zip(map(int, slots), texts, strict=True))
        self._built = None

    def delete(self, slots: Iterable[int]) -> int:
        """See ``BM25Index``."""
        self._built = None
        return sum(self._texts.pop(int(slot), None) is not None for slot in list(slots))

    def search(
        self, query: str, topk: int = 10, allowed: npt.NDArray[np.bool_] | Slots | None = None
    ) -> tuple[Slots, Floats]:
        """See ``BM25Index``; reads every document."""
        terms = self._analyzer.terms(query, query=True)
        if self._built is None:
            self._order = np.array(sorted(self._texts), np.int64)
            corpus = [self._analyzer.terms(self._texts[slot]) for slot in self._order.tolist()]
            if any(corpus):
                options = self._options
                self._built = self._okapi(corpus, k1=options["k1"], b=options["b"])
        if self._built is None or not terms:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        scores = np.asarray(self._built.get_scores(terms), np.float64)
        keep = scores > 0
        if allowed is not None:
            is_mask = allowed.dtype == np.bool_
            chosen: npt.NDArray[Any] = np.flatnonzero(allowed) if is_mask else allowed
            keep &= np.isin(self._order, chosen)
        places = np.flatnonzero(keep)
        best = places[np.lexsort((places, -scores[places]))][:topk]
        return self._order[best], scores[best].astype(np.float32)

    def save(self, folder: str | Path) -> None:
        """Writes the texts."""
        write_texts(Path(folder), self._options, self._texts)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads the texts.

        Raises:
            SnapshotError: There are none.
        """
        options, texts = read_texts(Path(folder))
        engine = cls(**options)
        engine.add(texts.keys(), texts.values())
        return engine
