"""What makes two similar texts different facts: numbers, names, negations.

Vectors of "at 3 pm" and "at 4 pm" are nearly equal, and so are those of a sentence and its
negation: similarity alone must not decide that a text is known already.
"""

from __future__ import annotations

import re

from sage.middleware.search.text import STOP_WORDS, tokenize

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_WORD = re.compile(r"\w+")
_NAME = re.compile(r"(?<=[^\s.!?:] )[A-ZÄÖÜÉ]\w+")  # capitals inside of a sentence
_NEGATION = re.compile(
    r"\b(?:not?|never|none|nobody|nothing|neither|nor|without|cannot|stopped|quit|\w+n['’]t|nicht|"
    r"kein\w*|nie|niemals|ohne|ne|pas|jamais|sans|nunca|sin)\b|[不没無未]",
    re.IGNORECASE,
)
_STAMP = re.compile(r"^\s*[\[(]?\d{4}-\d\d-\d\d(?:[T ]?[\d:.,]+Z?)?[\])]?\s*[:,-]?\s*")
FUNCTION_WORDS = frozenset(word for words in STOP_WORDS.values() for word in words)


def unstamped(text: str) -> str:
    """A text without the date a log or an agent has put before it."""
    return _STAMP.sub("", text, count=1)


def content_words(text: str) -> frozenset[str]:
    """The words that carry meaning, case-folded; all words if there are only others."""
    words = frozenset(tokenize(text))
    return words - FUNCTION_WORDS or words


def facts_agree(first: str, second: str) -> bool:
    """Whether the numbers, names and negations of two similar texts are the same."""
    if sorted(_NUMBER.findall(first)) != sorted(_NUMBER.findall(second)):
        return False
    if len(_NEGATION.findall(first)) != len(_NEGATION.findall(second)):
        return False
    words = [[w.casefold() for w in _WORD.findall(text)] for text in (first, second)]
    names = {n.casefold() for text in (first, second) for n in _NAME.findall(text)}
    mentioned = [[w for w in text if w in names] for text in words]
    # The same names in another order may have changed places: who owes whom.
    return mentioned[0] == mentioned[1]


def states_more(text: str, known: str) -> bool:
    """Whether a text has a number, a name or a negation that ``known`` has not."""
    numbers = set(_NUMBER.findall(text)) - set(_NUMBER.findall(known))
    names = {n.casefold() for n in _NAME.findall(text)} - {
        w.casefold() for w in _WORD.findall(known)
    }
    negated = len(_NEGATION.findall(text)) > 0 and not _NEGATION.search(known)
    return bool(numbers or names or negated)
