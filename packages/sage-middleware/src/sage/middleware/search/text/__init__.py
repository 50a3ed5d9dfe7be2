"""Text analysis: words of any script, case folding, stop words, stems.

``tokens`` splits, ``stop_words`` drops, ``languages`` says which stemmer belongs to which
language or script, ``analyzer`` does all three, ``detection`` guesses the language of a text.
"""

from __future__ import annotations

from sage.middleware.search.text.analyzer import Analyzer
from sage.middleware.search.text.detection import detect_language
from sage.middleware.search.text.languages import LANGUAGES, Language, language
from sage.middleware.search.text.stop_words import STOP_WORDS
from sage.middleware.search.text.tokens import tokenize

__all__ = [
    "LANGUAGES",
    "STOP_WORDS",
    "Analyzer",
    "Language",
    "detect_language",
    "language",
    "tokenize",
]
