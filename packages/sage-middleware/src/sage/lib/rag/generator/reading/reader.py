"""The reader: best sentences by the words they share with the question, then the best span."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import attrs

from sage.lib.rag.generator.reading.features import Sentence
from sage.lib.rag.generator.reading.question import kind_of
from sage.lib.rag.generator.reading.sentences import Token, sentence_bounds, tokens
from sage.lib.rag.generator.reading.weights import WEIGHTS
from sage.middleware.search.text import Analyzer


@attrs.frozen(kw_only=True)
class Reading:
    """What was found.

    Attributes:
        passage: Index of the passage.
        start, end: The answer, characters of the passage's text.
        sentence: ``(start, end)`` of the sentence it is in.
        score: The span's score; only its order means something.
    """

    passage: int
    start: int
    end: int
    sentence: tuple[int, int]
    score: float


@attrs.frozen(kw_only=True)
class Candidate:
    """A span with what speaks for it; what the weights were fitted on."""

    reading: Reading
    features: Mapping[str, float]


class Reader:
    """Finds short answers. Not thread-safe.

    Args:
        language: Of the stemmer and stop words, ISO 639-1.
        sentences: How many of the best sentences are searched for a span.
    """

    def __init__(self, language: str = "en", sentences: int = 3) -> None:
        self._analyzer = Analyzer(language)
        self._sentences = sentences
        # The same passages come back for many questions.
        self._parsed = lru_cache(maxsize=1024)(self._parse)

    def read(self, question: str, passages: Sequence[tuple[str, float]]) -> Reading | None:
        """The best span, or ``None`` when no passage shares a word with the question.

        Args:
            question: The question.
            passages: ``(text, share)`` where ``share`` is the passage's part of the best passage's
                retrieval score, in ``[0, 1]``.
        """
        best: Reading | None = None
        for candidate in self.candidates(question, passages):
            score = sum(WEIGHTS.get(n, 0.0) * v for n, v in candidate.features.items())
            if best is None or score > best.score:
                best = attrs.evolve(candidate.reading, score=score)
        return best

    def best_sentences(
        self, question: str, passages: Sequence[tuple[str, float]]
    ) -> list[tuple[float, int, int, int]]:
        """``(score, passage, start, end)``, best first; only those that share a word."""
        return [found[:4] for found in self._rank(question, passages)[0]]

    def candidates(self, question: str, passages: Sequence[tuple[str, float]]) -> list[Candidate]:
        """Every span of the best sentences."""
        ranked, asked, rarity = self._rank(question, passages)
        kind = kind_of(question)
        found: list[Candidate] = []
        for score, index, start, end, words, terms in ranked[: self._sentences]:
            sentence = Sentence(
                words, terms, asked, lambda t: rarity.get(t, 0.0), score / ranked[0][0]
            )
            for i, j in sentence.spans():
                reading = Reading(
                    passage=index,
                    start=words[i].start,
                    end=words[j - 1].end,
                    sentence=(start, end),
                    score=0.0,
                )
                found.append(Candidate(reading=reading, features=sentence.features(i, j, kind)))
        return found

    def _rank(
        self, question: str, passages: Sequence[tuple[str, float]]
    ) -> tuple[
        list[tuple[float, int, int, int, list[Token], list[str | None]]],
        dict[str, float],
        dict[str, float],
    ]:
        rows = []
        frequency: Counter[str] = Counter()
        for index, (text, share) in enumerate(passages):
            for start, end, words, terms, bag in self._parsed(text):
                frequency.update(bag)
                rows.append((index, share, start, end, words, terms, bag))
        rarity = {t: math.log(1 + len(rows) / n) for t, n in frequency.items()}
        asked: dict[str, float] = {}
        for word in tokens(question, 0, len(question)):
            term = self._term(word.text)
            if term is not None:
                asked[term] = rarity.get(term, 0.0)
        ranked = []
        for index, share, start, end, words, terms, bag in rows:
            value = sum(weight for term, weight in asked.items() if term in bag)
            if value > 0:
                score = value / (1 + 0.01 * len(bag)) + 3.0 * share
                ranked.append((score, index, start, end, words, terms))
        ranked.sort(key=lambda row: -row[0])
        return ranked, asked, rarity

    def _parse(
        self, text: str
    ) -> list[tuple[int, int, list[Token], list[str | None], frozenset[str]]]:
        found = []
        for start, end in sentence_bounds(text):
            words = tokens(text, start, end)
            terms = [self._term(word.text) for word in words]
            found.append((start, end, words, terms, frozenset(t for t in terms if t is not None)))
        return found

    def _term(self, word: str) -> str | None:
        if not (word[0].isalnum() or word[0] in "$£€"):
            return None
        return self._analyzer.term(word.strip("$£€%.").casefold() or word)
