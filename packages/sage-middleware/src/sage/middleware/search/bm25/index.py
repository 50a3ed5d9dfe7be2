"""An incremental BM25 index with exact scores."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError
from sage.middleware.search.bm25 import snapshot
from sage.middleware.search.bm25.language_choice import LanguageChoice
from sage.middleware.search.bm25.ranking import Mask, TermPostings, rank, rank_among
from sage.middleware.search.bm25.segment import Floats, Ints, Segment, merged, sealed
from sage.middleware.search.bm25.tail import Tail
from sage.middleware.search.bm25.vocabulary import DROPPED, Vocabulary
from sage.middleware.search.text.analyzer import Analyzer

Slots = npt.NDArray[np.int64]

_NOBODY = -1
_TAIL = 1024
_DIRECT = 128
_CHUNK = 50_000
_FEW = 4096


class BM25Index:
    """Ranks documents by ``sum over terms of idf * tf / (tf + k1 * (1 - b + b * length / mean))``.

    ``idf = ln(1 + (N - n + 0.5) / (n + 0.5))``, never negative; a term that the query repeats
    counts as often. All statistics (``N``, ``n``, mean length) are those of the live documents at
    the moment of the query: scores equal those of an index built anew from them.
    Source: S. Robertson, H. Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond,
    FnTIR 3(4), 2009; idf, and no constant factor ``k1 + 1``, as in Apache Lucene since 8.

    A document is known by its slot: a small integer of the caller's choice, such as a row number.
    Arrays are as long as the highest slot, so slots should not be sparse.

    Safe to share between threads: calls take turns.

    Args:
        k1: How fast repeated occurrences stop counting; larger means slower.
        b: How much long documents are held back, 0 to 1.
        language: ISO 639-1 code or English name; ``"none"`` for words as they are; ``"auto"`` to
            take the language of the first documents added (words that are not Latin always go by
            their script).
        stemming: Match inflected forms of a word.
        stop_words: Leave function words out.

    Raises:
        ConfigError: A parameter is out of range or the language is not known.
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
        if not k1 > 0:
            raise ConfigError(f"k1 must be above 0, got {k1!r}", k1=k1)
        if not 0 <= b <= 1:
            raise ConfigError(f"b must be between 0 and 1, got {b!r}", b=b)
        self.k1, self.b = float(k1), float(b)
        self._stemming, self._stop_words = stemming, stop_words
        self._choice = LanguageChoice() if language == "auto" else None
        self._vocabulary = Vocabulary(self._analyzer("en" if self._choice else language))
        self._lock = threading.RLock()
        self._next_serial = 1
        self._segments: list[Segment] = []
        self._tail = Tail(0)
        self._owner: Ints = np.empty(0, np.int32)
        self._lengths: Floats = np.empty(0, np.float32)
        self._table: Floats = np.empty(0, np.float32)
        self._slots = 0
        self._documents = 0
        self._words = 0
        self._epoch = 0
        self._removals = 0
        self.note: dict[str, Any] = {}

    # ------------------------------------------------------------------ facts

    def __len__(self) -> int:
        return self._documents

    def __contains__(self, slot: int) -> bool:
        return 0 <= slot < self._slots and int(self._owner[slot]) != _NOBODY

    @property
    def language(self) -> str:
        """Language in use; with ``"auto"`` a guess until enough text was seen."""
        return self._vocabulary.analyzer.language

    def stats(self) -> dict[str, Any]:
        """Sizes: documents, terms, mean length, segments, documents not yet sealed, language."""
        with self._lock:
            return {
                "documents": self._documents,
                "terms": len(self._vocabulary),
                "mean_length": self._words / self._documents if self._documents else 0.0,
                "segments": len(self._segments),
                "tail": len(self._tail),
                "dead": sum(segment.dead for segment in self._segments),
                "language": self.language,
            }

    # ------------------------------------------------------------------ change

    def add(self, slots: Iterable[int], texts: Iterable[str]) -> None:
        """Adds documents, searchable on return; a slot in use is replaced.

        Args:
            slots: One non-negative integer per text.
            texts: Anything, also ``""``.

        Raises:
            ConfigError: Different numbers of slots and texts, a slot twice or a negative one;
                nothing was added.
        """
        numbers = [int(slot) for slot in slots]
        contents = list(texts)
        if len(numbers) != len(contents):
            raise ConfigError(
                f"got {len(numbers)} slots for {len(contents)} texts; one each is needed"
            )
        if not numbers:
            return
        if len(numbers) > 1 and len(set(numbers)) < len(numbers):
            twice = [slot for slot, n in Counter(numbers).items() if n > 1]
            raise ConfigError(f"slot {twice[0]!r} occurs more than once in one call")
        if min(numbers) < 0 or max(numbers) > 2**31 - 2:
            raise ConfigError(
                f"slots must be from 0 to 2**31 - 2, got {min(numbers)} to {max(numbers)}"
            )
        with self._lock:
            self._room(max(numbers) + 1)
            self._remove(slot for slot in numbers if self._owner[slot] != _NOBODY)
            if self._choice is not None:
                self._choose(numbers, contents)
            self._insert(numbers, contents)

    def delete(self, slots: Iterable[int]) -> int:
        """Takes documents out; slots that hold none are passed over.

        Returns:
            How many were taken out.
        """
        with self._lock:
            return self._remove(int(slot) for slot in slots if int(slot) in self)

    def update(self, slots: Iterable[int], texts: Iterable[str]) -> None:
        """Replaces documents; the same as ``add``."""
        self.add(slots, texts)

    def optimize(self) -> None:
        """Makes one segment of everything: smallest, and fastest to query."""
        with self._lock:
            self._seal()
            if len(self._segments) > 1 or any(segment.dead for segment in self._segments):
                self._merge(self._segments)

    def purge(self) -> None:
        """Drops every trace of deleted documents, also terms that only they held."""
        with self._lock:
            self.optimize()
            used = self._segments[0].terms if self._segments else np.empty(0, np.int32)
            if len(used) < len(self._vocabulary):
                terms = self._vocabulary.terms
                self._vocabulary = Vocabulary(
                    self._vocabulary.analyzer, [terms[i] for i in used.tolist()]
                )
                for segment in self._segments:
                    segment.terms = np.arange(len(used), dtype=np.int32)
                    segment.saved_as = None

    # ------------------------------------------------------------------ search

    def search(
        self,
        query: str,
        topk: int = 10,
        allowed: Mask | Slots | None = None,
    ) -> tuple[Slots, Floats]:
        """Best documents for a query.

        Args:
            query: Words; any of them may match.
            topk: How many documents at most.
            allowed: Only these: booleans by slot (slots beyond its end are not allowed), or
                integer slots. A document that is not allowed never takes a place.

        Returns:
            Slots ``(n,)`` int64 and scores ``(n,)`` float32, best first, equal scores by slot.
            Scores are above 0: documents without any term of the query are not returned.
        """
        if topk < 1:
            raise ConfigError(f"topk must be at least 1, got {topk!r}", topk=topk)
        with self._lock:
            terms = self._query(query)
            if not terms:
                return np.empty(0, np.int64), np.empty(0, np.float32)
            return self._ranked(terms, topk, allowed)

    def query_weight(self, query: str) -> float:
        """Sum of the idf of a query's terms: no document scores higher.

        A term that no document has counts with the idf of a single document's.
        """
        with self._lock:
            counts = Counter(self._vocabulary.analyzer.terms(query, query=True))
            found = [(self._vocabulary.query_number(term), n) for term, n in counts.items()]
            known = [(number, n) for number, n in found if number is not None]
            frequencies = self._frequencies([number for number, _ in known])
            total = sum(
                n * self._idf(max(f, 1)) for (_, n), f in zip(known, frequencies, strict=True)
            )
            return total + sum(n for number, n in found if number is None) * self._idf(1)

    # ------------------------------------------------------------------ disk

    def save(self, folder: str | Path, note: Mapping[str, Any] | None = None) -> None:
        """Writes a snapshot; sealed segments that are already there are not written again.

        Atomic: a reader, or a crash at any point, finds the old or the new snapshot.

        Args:
            folder: Made if need be.
            note: JSON values to keep with it, such as the version of the truth it was made from;
                ``note`` of the loaded index.
        """
        with self._lock:
            if self._choice is not None:
                self._choice = None
            self._seal()
            if note is not None:
                self.note = dict(note)
            snapshot.write(Path(folder), self._state())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads a snapshot.

        Raises:
            SnapshotError: There is none, it is damaged, or it was made by another version of the
                text analysis: build the index anew from the texts.
        """
        state = snapshot.read(Path(folder))
        index = cls(
            k1=state.k1,
            b=state.b,
            language=state.language,
            stemming=state.stemming,
            stop_words=state.stop_words,
        )
        index._restore(state)
        return index

    # ------------------------------------------------------------------ inside

    def _analyzer(self, language: str) -> Analyzer:
        return Analyzer(language, stemming=self._stemming, stop_words=self._stop_words)

    def _choose(self, slots: list[int], texts: list[str]) -> None:
        """Settles the language by the first documents; what was indexed otherwise is redone."""
        assert self._choice is not None
        again = self._choice.add(slots, texts, current=self.language)
        if again is not None:
            self._vocabulary = Vocabulary(self._analyzer(again))
            earlier = [(slot, text) for slot, text in self._choice.kept() if slot not in set(slots)]
            self._remove(slot for slot, _ in earlier)
            self._segments, self._tail = [], Tail(self._serial())
            if earlier:
                self._insert([slot for slot, _ in earlier], [text for _, text in earlier])
        if self._choice.settled:
            self._choice = None

    def _serial(self) -> int:
        self._next_serial += 1
        return self._next_serial

    def _room(self, slots: int) -> None:
        self._slots = max(self._slots, slots)
        if self._slots > len(self._owner):
            capacity = max(1024, self._slots + self._slots // 2)
            extra = capacity - len(self._owner)
            self._owner = np.concatenate([self._owner, np.full(extra, _NOBODY, np.int32)])
            self._lengths = np.concatenate([self._lengths, np.zeros(extra, np.float32)])
            self._table = np.zeros(capacity, np.float32)

    def _insert(self, slots: list[int], texts: list[str]) -> None:
        if len(slots) < _DIRECT:
            for slot, text in zip(slots, texts, strict=True):
                terms = [term for term in self._vocabulary.index(text) if term != DROPPED]
                self._tail.add(slot, terms)
                self._owner[slot] = self._tail.serial
                self._lengths[slot] = len(terms)
                self._words += len(terms)
            self._documents += len(slots)
            self._epoch += 1
            if len(self._tail) >= _TAIL:
                self._seal()
                self._merge_small()
            return
        for begin in range(0, len(slots), _CHUNK):
            self._insert_segment(slots[begin : begin + _CHUNK], texts[begin : begin + _CHUNK])
        self._merge_small()

    def _insert_segment(self, slots: list[int], texts: list[str]) -> None:
        flat: list[int] = []
        ends = []
        for text in texts:
            flat.extend(self._vocabulary.index(text))
            ends.append(len(flat))
        places = np.array(slots, np.int32)
        terms = np.array(flat, np.int32)
        docs = np.repeat(places, np.diff(ends, prepend=0))
        kept = terms != DROPPED
        terms, docs = terms[kept], docs[kept]
        sums = np.concatenate([[0], np.cumsum(kept)])[ends]
        self._lengths[places] = np.diff(sums, prepend=0)
        segment = sealed(self._serial(), terms, docs, len(slots))
        self._owner[places] = segment.serial
        self._segments.append(segment)
        self._documents += len(slots)
        self._words += len(terms)
        self._epoch += 1

    def _remove(self, slots: Iterable[int]) -> int:
        removed = 0
        by_serial = {segment.serial: segment for segment in self._segments}
        for slot in list(slots):
            serial = int(self._owner[slot])
            if serial == self._tail.serial:
                self._tail.remove(slot)
            else:
                by_serial[serial].dead += 1
            self._owner[slot] = _NOBODY
            self._words -= int(self._lengths[slot])
            self._lengths[slot] = 0
            removed += 1
            if self._choice is not None:
                self._choice.forget(slot)
        if removed:
            self._documents -= removed
            self._epoch += 1
            self._removals += 1
            self._merge_small()
        return removed

    def _seal(self) -> None:
        if len(self._tail):
            self._segments.append(self._tail.seal())
            self._tail = Tail(self._serial())

    def _merge_small(self) -> None:
        """Keeps segments falling in size by half, and their dead below a third."""
        self._segments = [segment for segment in self._segments if segment.live]
        for segment in [s for s in self._segments if s.dead * 3 > s.documents]:
            self._merge([segment])
        self._segments.sort(key=lambda segment: -segment.live)
        while len(self._segments) > 1:
            last, before = self._segments[-1], self._segments[-2]
            if last.live * 2 < before.live:
                break
            self._merge([before, last])
            self._segments.sort(key=lambda segment: -segment.live)

    def _merge(self, parts: list[Segment]) -> None:
        one = merged(self._serial(), parts, self._owner)
        for part in parts:
            self._owner[self._owner == part.serial] = one.serial
        self._segments = [s for s in self._segments if s not in parts]
        if one.documents:
            self._segments.append(one)

    def _frequencies(self, terms: Sequence[int]) -> list[int]:
        found = [self._tail.frequency(term) for term in terms]
        wanted = np.array(terms, np.int32)
        for segment in self._segments:
            for i, row in enumerate(segment.rows(wanted)):
                if row >= 0:
                    found[i] += segment.frequency(row, self._owner, self._removals)
        return found

    def _idf(self, frequency: int) -> float:
        return log(1 + (self._documents - frequency + 0.5) / (frequency + 0.5))

    def _query(self, query: str) -> list[TermPostings]:
        """Postings of the query's terms that occur in live documents."""
        counts = Counter(self._vocabulary.query(query))
        if not counts or not self._documents:
            return []
        numbers = list(counts)
        wanted = np.array(numbers, np.int32)
        rows = [segment.rows(wanted) for segment in self._segments]
        mean = self._words / self._documents or 1.0
        base, per_word = self.k1 * (1 - self.b), self.k1 * self.b / mean
        out = []
        for i, number in enumerate(numbers):
            parts, bound, frequency = [], 0.0, self._tail.frequency(number)
            if frequency:
                docs, impacts, bound = self._tail.postings(number, self._lengths, base, per_word)
                parts.append((docs, impacts))
            for segment, found in zip(self._segments, rows, strict=True):
                row = found[i]
                if row < 0:
                    continue
                docs, impacts, highest = segment.postings(
                    row, self._epoch, self._lengths, self._owner, base, per_word
                )
                if len(docs):
                    parts.append((docs, impacts))
                    bound = max(bound, highest)
                    frequency += len(docs)
            if parts:
                out.append(TermPostings(self._idf(frequency) * counts[number], parts, bound))
        return out

    def _ranked(
        self, terms: list[TermPostings], topk: int, allowed: Mask | Slots | None
    ) -> tuple[Slots, Floats]:
        if allowed is None:
            return rank(terms, topk, self._table)
        if allowed.dtype == np.bool_:
            mask = allowed[: self._slots]
            if np.count_nonzero(mask) > _FEW:
                if len(mask) < self._slots:
                    mask = np.concatenate([mask, np.zeros(self._slots - len(mask), np.bool_)])
                return rank(terms, topk, self._table, mask.astype(np.bool_, copy=False))
            chosen = np.flatnonzero(mask).astype(np.int32)
        else:
            found = np.unique(allowed.astype(np.int64))
            chosen = found[(found >= 0) & (found < self._slots)].astype(np.int32)
        return rank_among(terms, chosen, topk, self._table)

    def _state(self) -> snapshot.State:
        return snapshot.State(
            k1=self.k1,
            b=self.b,
            language=self.language,
            stemming=self._stemming,
            stop_words=self._stop_words,
            terms=self._vocabulary.terms,
            segments=self._segments,
            owner=self._owner[: self._slots],
            lengths=self._lengths[: self._slots],
            next_serial=self._next_serial,
            note=self.note,
        )

    def _restore(self, state: snapshot.State) -> None:
        self._vocabulary = Vocabulary(self._vocabulary.analyzer, state.terms)
        self._room(len(state.owner))
        self._owner[: self._slots] = state.owner
        self._lengths[: self._slots] = state.lengths
        self._segments = list(state.segments)
        self._next_serial = state.next_serial
        self.note = state.note
        self._tail = Tail(self._serial())
        self._documents = int(np.count_nonzero(state.owner != _NOBODY))
        self._words = int(state.lengths.sum(dtype=np.float64))
