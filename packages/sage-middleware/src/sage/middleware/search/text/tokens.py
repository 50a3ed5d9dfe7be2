"""Splitting text into words of any script."""

from __future__ import annotations

import re
import unicodedata

# Scripts written without spaces between words: Thai and Lao, Myanmar, Khmer, kana, Bopomofo, Han,
# Hangul (spaced by phrase; stems change inside it), Yi, compatibility ideographs, planes of Han.
_UNSPACED = (
    "\u0e00-\u0e4f\u0e80-\u0ecf\u1000-\u109f\u1780-\u17d3\u3005-\u3007\u3040-\u30ff\u3100-\u312f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
# Python's \w leaves out combining marks, which are parts of words: a vowel sign of Devanagari
# would split its word in two.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u0900-\u0963\u0971-\u0dff\u0f18-\u0fbc\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
)
_ASCII_WORDS = re.compile(r"[a-z0-9]+(?:'[a-z]+)*")
_WORDS = re.compile(
    rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}_])[\w{_MARKS}])+(?:'(?:(?![{_UNSPACED}_])[\w{_MARKS}])+)*"
)
_STARTS_UNSPACED = re.compile(rf"[{_UNSPACED}]")


def fold(text: str) -> str:
    """Makes spellings that mean the same equal: compatibility forms, case, apostrophes."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")


def words(folded: str) -> list[str]:
    """Words of a folded text; a run of an unspaced script is one word."""
    return (_ASCII_WORDS if folded.isascii() else _WORDS).findall(folded)


def is_unspaced(word: str) -> bool:
    """Whether the word is a run of a script written without spaces."""
    return word[0] >= "\u0e00" and _STARTS_UNSPACED.match(word) is not None


def grams(run: str, *, singles: bool) -> list[str]:
    """Overlapping pairs of characters of an unspaced run; a run of one character is itself.

    Args:
        run: A word for which ``is_unspaced`` holds.
        singles: Also every single character. Documents are indexed with them so that a query of
            one character finds them; queries of more use the pairs only.
    """
    pairs = [run[i : i + 2] for i in range(len(run) - 1)]
    return [*pairs, *run] if singles or not pairs else pairs


def tokenize(text: str) -> list[str]:
    """Case-folded words of a text in order; unspaced scripts as pairs of characters."""
    out: list[str] = []
    for word in words(fold(text)):
        if is_unspaced(word):
            out.extend(grams(word, singles=False))
        else:
            out.append(word)
    return out
