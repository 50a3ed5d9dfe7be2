"""Sentences and tokens of a text, with character offsets."""

from __future__ import annotations

import re

_END = re.compile(r"(?<=[.!?。!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9À-Þ\u3040-\u9fff])|\n+")
_ABBREVIATION = re.compile(r"(?:\b(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Prof|Sr|Jr|vs|No|Inc|Co|e\.g|i\.e)\.)$")
_TOKEN = re.compile(
    r"(?:Dr|Mr|Mrs|Ms|St|Prof|Sr|Jr)\.(?=\s)"  # a title belongs to the name after it
    r"|[$£€]?\d[\d,]*(?:\.\d+)?%?(?:st|nd|rd|th|s)?(?![^\W\d])"  # numbers with their signs
    r"|[^\W\d_]\w*(?:[-'’.&][^\W_]\w*)*"  # words, also U.S, rock-and-roll
    r"|\w+|[^\w\s]"
)


class Token:
    """A word, number or mark: ``text`` at ``[start, end)``."""

    __slots__ = ("end", "start", "text")

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text = text
        self.start = start
        self.end = end


def sentence_bounds(text: str) -> list[tuple[int, int]]:
    """``(start, end)`` of each sentence; line breaks end one too."""
    bounds = []
    start = 0
    for match in _END.finditer(text):
        if "\n" not in match.group() and _ABBREVIATION.search(text, start, match.start()):
            continue
        if text[start : match.start()].strip():
            bounds.append((start, match.start()))
        start = match.end()
    if text[start:].strip():
        bounds.append((start, len(text)))
    return bounds


def tokens(text: str, start: int, end: int) -> list[Token]:
    """Tokens of ``text[start:end]``, with offsets into ``text``."""
    return [Token(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(text, start, end)]
