"""Whether a text supports a statement, by their words: the measure that needs no model.

A statement is supported when enough of its content words (stemmed, without function words) stand in
the evidence, and all of its numbers. This sees invented names and numbers; it does not see a
negation or a wrong relation between right words. An LLM judge does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

THRESHOLD = 0.6
"""Share of the content words of a statement that its evidence must have."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^\s])|(?<=[。！？])|\n+")
_NUMBER = re.compile(r"\d[\d,.]*")
_WORD = re.compile(r"\w")

Terms = Callable[[str], list[str]]


def make_terms(language: str = "en") -> Terms:
    """The function that gives the content words of a text.

    Raises:
        ConfigError: The language is not known.
    """
    from sage.middleware.search.text import Analyzer  # noqa: PLC0415 - NumPy and the stemmer

    return Analyzer(language).terms


def statements(text: str) -> list[str]:
    """The sentences of a text that say something."""
    return [part.strip() for part in _SENTENCE.split(text) if _WORD.search(part)]


def numbers(text: str) -> set[str]:
    """The numbers in a text, without thousands separators and closing dots."""
    return {found.replace(",", "").rstrip(".") for found in _NUMBER.findall(text)}


def coverage(statement: str, evidence: Iterable[str], terms: Terms) -> float | None:
    """Share of the content words of a statement that the evidence has; ``None`` without any."""
    wanted = set(terms(statement))
    if not wanted:
        return None
    known: set[str] = set()
    for text in evidence:
        known.update(terms(text))
    return len(wanted & known) / len(wanted)


def supported(statement: str, evidence: Iterable[str], terms: Terms) -> bool | None:
    """Whether the evidence supports a statement; ``None`` when it has no content words."""
    texts = list(evidence)
    share = coverage(statement, texts, terms)
    if share is None:
        return None
    known = {number for text in texts for number in numbers(text)}
    return share >= THRESHOLD and numbers(statement) <= known


def share_of(verdicts: Iterable[bool | None]) -> float | None:
    """Share of the true verdicts among those given; ``None`` when there is none."""
    known = [verdict for verdict in verdicts if verdict is not None]
    return sum(known) / len(known) if known else None
