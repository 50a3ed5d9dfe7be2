"""Terms and their numbers, and the words already seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sage.middleware.search.text.analyzer import Analyzer
from sage.middleware.search.text.tokens import fold, grams, is_unspaced, words

DROPPED = -1
_MEMORY = 2_000_000


class _Words(dict[str, int]):
    """Word to term number; a word not seen before is analysed and numbered."""

    def __init__(self, analyzer: Analyzer, numbers: dict[str, int]) -> None:
        super().__init__()
        self._analyzer = analyzer
        self._numbers = numbers

    def __missing__(self, word: str) -> int:
        term = self._analyzer.term(word)
        number = DROPPED
        if term is not None:
            number = self._numbers.setdefault(term, len(self._numbers))
        self[word] = number
        return number


class Vocabulary:
    """Numbers terms from 0 in the order they are first seen.

    Args:
        analyzer: Makes terms of words.
        terms: Terms by number, of an index that is loaded.
    """

    def __init__(self, analyzer: Analyzer, terms: Iterable[str] = ()) -> None:
        self.analyzer = analyzer
        self._numbers = {term: i for i, term in enumerate(terms)}
        self._words = _Words(analyzer, self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def terms(self) -> Sequence[str]:
        """Terms by number."""
        return list(self._numbers)

    def index(self, text: str) -> list[int]:
        """Term numbers of a document, new terms numbered; dropped words are ``DROPPED``."""
        if len(self._words) > _MEMORY:
            self._words.clear()
        found = words(fold(text))
        if text.isascii():
            return list(map(self._words.__getitem__, found))
        numbers, out = self._numbers, []
        for word in found:
            if is_unspaced(word):
                out += [numbers.setdefault(g, len(numbers)) for g in grams(word, singles=True)]
            else:
                out.append(self._words[word])
        return out

    def query(self, text: str) -> list[int]:
        """Term numbers of a query; unknown terms are left out, nothing is numbered."""
        numbers = self._numbers
        return [numbers[term] for term in self.analyzer.terms(text, query=True) if term in numbers]

    def query_number(self, term: str) -> int | None:
        """Number of a term, ``None`` when no document ever held it."""
        return self._numbers.get(term)
