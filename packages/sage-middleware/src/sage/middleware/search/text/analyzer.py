"""From text to the terms that are indexed and searched."""

from __future__ import annotations

from functools import cache
from typing import Protocol

import Stemmer

from sage.middleware.search.text.languages import language, language_of_script
from sage.middleware.search.text.stop_words import STOP_WORDS
from sage.middleware.search.text.tokens import fold, grams, is_unspaced, words

ANALYSIS_VERSION = f"1/{Stemmer.version()}"
"""Changes when the same text may give other terms: indexes made with another are rebuilt."""

_MEMORY = 1_000_000


class _Stems(Protocol):
    def stemWord(self, word: str) -> str: ...  # noqa: N802  (PyStemmer's own spelling)


@cache
def _stemmer(algorithm: str) -> _Stems:
    # maxCacheSize 0: the analyzer's own memory is before it, and a shared cache is not thread-safe.
    made: _Stems = Stemmer.Stemmer(algorithm, 0)
    return made


class Analyzer:
    """Splits text into words, folds case, drops stop words and reduces words to stems.

    Words of Latin script take the stemmer and stop words of ``language``; words of another script
    take those that the script implies (Greek, Cyrillic, Arabic, Devanagari, ...), and scripts
    without spaces (Chinese, Japanese, Korean, Thai, ...) become pairs of characters.

    Not thread-safe; an index calls it under its own lock.

    Args:
        lang: ISO 639-1 code or English name, or ``"none"`` for words as they are.
        stemming: Reduce words to stems. Source: the algorithms of snowballstem.org, as PyStemmer
            implements them.
        stop_words: Drop function words.

    Raises:
        ConfigError: The language is not known.
    """

    def __init__(self, lang: str = "en", *, stemming: bool = True, stop_words: bool = True) -> None:
        self.language = "none" if lang == "none" else language(lang).code
        self.stemming = stemming and lang != "none"
        self.stop_words = stop_words and lang != "none"
        self._known: dict[str, str | None] = {}

    def term(self, word: str) -> str | None:
        """The term of one spaced, folded word; ``None`` when the word is dropped."""
        code = language_of_script(word) or self.language
        if code == "none" or self.language == "none":
            return word
        if self.stop_words and word in STOP_WORDS.get(code, ()):
            return None
        algorithm = language(code).stemmer
        if code == "en" or "'" not in word:
            base = word
        else:
            # d'une, l'homme, dell'arte: the part before the apostrophe is an article.
            base = word.rpartition("'")[2] or word
            if self.stop_words and base in STOP_WORDS.get(code, ()):
                return None
        if self.stemming and algorithm and not base[0].isdigit():
            return _stemmer(algorithm).stemWord(base) or base
        return base

    def terms(self, text: str, *, query: bool = False) -> list[str]:
        """Terms of a text in order, repeated as they occur.

        Args:
            text: Any text.
            query: Analyse as a query: runs of unspaced scripts become pairs only, where a
                document also gets the single characters.
        """
        known, out = self._known, []
        if len(known) > _MEMORY:
            known.clear()
        for word in words(fold(text)):
            try:
                term = known[word]
            except KeyError:
                if is_unspaced(word):
                    out.extend(grams(word, singles=not query))
                    continue
                term = known[word] = self.term(word)
            if term is not None:
                out.append(term)
        return out
