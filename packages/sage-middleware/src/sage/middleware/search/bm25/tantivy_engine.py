"""The package ``tantivy`` (a search library in Rust) with the interface of ``BM25Index``."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError, MissingExtraError
from sage.middleware.search.bm25.index import Slots
from sage.middleware.search.bm25.kept_texts import read_texts, write_texts
from sage.middleware.search.bm25.segment import Floats
from sage.middleware.search.text.analyzer import Analyzer

_HEAP_BYTES = 64_000_000


class TantivyEngine:
    """An index of tantivy in memory, over the terms of our own text analysis.

    Its BM25 has k1 = 1.2 and b = 0.75 built in, rounds lengths of documents to one byte, and counts
    deleted documents in its statistics until a merge: scores are near those of ``BM25Index``, not
    equal. A change is committed before the next search (milliseconds), so many changes in a row are
    cheap and alternating with searches is not.

    Args:
        k1: 1.2.
        b: 0.75.
        language: See ``BM25Index``; ``"auto"`` means English here.
        stemming: See ``BM25Index``.
        stop_words: See ``BM25Index``.

    Raises:
        ConfigError: Another ``k1`` or ``b``.
        MissingExtraError: ``tantivy`` is not installed.
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
        if (k1, b) != (1.2, 0.75):
            raise ConfigError(
                f"tantivy has k1 = 1.2 and b = 0.75 built in, got {k1!r} and {b!r}; "
                "use the engine 'sage' for other values"
            )
        try:
            import tantivy  # noqa: PLC0415  (an extra)
        except ImportError as exc:
            raise MissingExtraError("tantivy", "tantivy", "The BM25 engine 'tantivy'") from exc
        self._tantivy = tantivy
        self._options = {"language": language, "stemming": stemming, "stop_words": stop_words}
        self._analyzer = Analyzer(
            "en" if language == "auto" else language, stemming=stemming, stop_words=stop_words
        )
        builder = tantivy.SchemaBuilder()
        builder.add_integer_field("slot", stored=True, indexed=True, fast=True)
        builder.add_text_field("body", tokenizer_name="whitespace", index_option="freq")
        self._schema = builder.build()
        self._index = tantivy.Index(self._schema)
        self._writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        self._lock = threading.RLock()
        self._texts: dict[int, str] = {}
        self._dirty = False

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, slots: Iterable[int], texts: Iterable[str]) -> None:
        """See ``BM25Index``."""
        with self._lock:
            for slot, text in zip(map(int, slots), texts, strict=True):
                if slot in self._texts:
                    self._writer.delete_documents_by_term("slot", slot)
                self._texts[slot] = text
                body = " ".join(self._analyzer.terms(text))
                self._writer.add_document(self._tantivy.Document(slot=slot, body=body))
            self._dirty = True

    def delete(self, slots: Iterable[int]) -> int:
        """See ``BM25Index``."""
        count = 0
        with self._lock:
            for slot in map(int, slots):
                if self._texts.pop(slot, None) is not None:
                    self._writer.delete_documents_by_term("slot", slot)
                    count += 1
            self._dirty = self._dirty or count > 0
        return count

    def search(
        self, query: str, topk: int = 10, allowed: npt.NDArray[np.bool_] | Slots | None = None
    ) -> tuple[Slots, Floats]:
        """See ``BM25Index``. With ``allowed``, more and more are fetched until enough pass."""
        terms = self._analyzer.terms(query, query=True)
        with self._lock:
            if self._dirty:
                self._writer.commit()
                self._index.reload()
                self._dirty = False
            searcher = self._index.searcher()
        if not terms or not self._texts:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        api: Any = self._tantivy
        wanted = api.Query.boolean_query(
            [
                (api.Occur.Should, api.Query.term_query(self._schema, "body", term, "freq"))
                for term in terms
            ]
        )
        passes = None if allowed is None else _membership(allowed)
        fetch = topk
        while True:
            hits = searcher.search(wanted, fetch, count=False).hits
            found = [(score, int(searcher.doc(at)["slot"][0])) for score, at in hits]
            if passes is not None:
                found = [pair for pair in found if pair[1] in passes]
            if len(found) >= topk or len(hits) < fetch:
                break
            fetch *= 4
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        return (
            np.array([slot for _, slot in found[:topk]], np.int64),
            np.array([score for score, _ in found[:topk]], np.float32),
        )

    def save(self, folder: str | Path) -> None:
        """Writes the texts; the index is built again from them in about a second per 50,000."""
        with self._lock:
            write_texts(Path(folder), self._options, self._texts)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads the texts and builds the index.

        Raises:
            SnapshotError: There are none.
        """
        options, texts = read_texts(Path(folder))
        engine = cls(**options)
        engine.add(texts.keys(), texts.values())
        return engine


def _membership(allowed: npt.NDArray[np.bool_] | Slots) -> set[int]:
    chosen = np.flatnonzero(allowed) if allowed.dtype == np.bool_ else allowed
    return set(chosen.tolist())
