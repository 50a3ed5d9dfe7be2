"""Sentences of passages as character spans."""

from __future__ import annotations

import attrs

from sage.lib.rag.generator.reading.sentences import sentence_bounds


@attrs.frozen(kw_only=True)
class Cut:
    """A sentence: characters ``[start, end)`` of passage ``passage``, ``number`` in its order."""

    passage: int
    number: int
    start: int
    end: int


def cut_passage(passage: int, text: str) -> list[Cut]:
    """The sentences of a passage; line breaks end one too."""
    return [
        Cut(passage=passage, number=number, start=start, end=end)
        for number, (start, end) in enumerate(sentence_bounds(text))
    ]
