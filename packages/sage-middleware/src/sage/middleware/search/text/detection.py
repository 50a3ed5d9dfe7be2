"""Which language a Latin text is in, by its function words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from sage.middleware.search.text.stop_words import STOP_WORDS
from sage.middleware.search.text.tokens import fold, words

_LATIN = (
    "en",
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "nl",
    "sv",
    "da",
    "no",
    "fi",
    "pl",
    "cs",
    "hu",
    "ro",
    "tr",
    "id",
)


# Running text has a quarter to a half of function words; names scattered in a text of another
# script have next to none.
_SHARE = 0.1


@attrs.frozen
class Guess:
    """A guessed language.

    Attributes:
        code: ISO 639-1 code; ``"en"`` without any evidence.
        hits: Words of the text that are function words of that language.
        lead: ``hits`` over those of the runner-up (at least 1), so 1.0 is a tie.
    """

    code: str
    hits: int
    lead: float

    @property
    def sure(self) -> bool:
        """Enough function words, clearly ahead: more text will hardly change the answer."""
        return self.hits >= 30 and self.lead >= 1.5


def detect_language(texts: Iterable[str]) -> Guess:
    """Guesses the language of texts that belong together.

    Counts function words, so it needs sentences: a handful of keywords says nothing. Words of
    other scripts do not count, as the script itself names their stemmer.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words(fold(text)))
    hits = {
        code: sum(counts[word] for word in STOP_WORDS[code] if word in counts) for code in _LATIN
    }
    latin = sum(n for word, n in counts.items() if "a" <= word[0] <= "\u024f")
    (best, most), (_, second) = sorted(hits.items(), key=lambda item: -item[1])[:2]
    if most < _SHARE * latin or not most:
        return Guess("en", 0, 1.0)
    return Guess(best, most, most / max(second, 1))
