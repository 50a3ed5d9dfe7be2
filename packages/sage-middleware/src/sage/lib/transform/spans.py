"""Spans of a text: measuring, cutting and packing them. Pure; used by every splitter.

Predecessor: the operators of this package, which choose the atoms; successor: ``passages``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from sage.common.errors import ConfigError
from sage.lib.types import Document
from sage.middleware.tokens import Tokenizer, get_tokenizer

Span = tuple[int, int]
"""Characters ``[start, end)``."""

UNITS = ("characters", "tokens")
_SPACE = re.compile(r"\s")
_WORD = re.compile(r"\S")
# A token is rarely longer than this many characters; a window that turns out too short is doubled.
_CHARS_PER_TOKEN = 16


class Measure:
    """Sizes of text in characters or tokens.

    Args:
        unit: ``characters`` or ``tokens``.
        tokenizer: Name for ``get_tokenizer``; used with ``tokens`` only.
    """

    def __init__(self, unit: str = "characters", tokenizer: str = "simple") -> None:
        self._tokenizer: Tokenizer | None = get_tokenizer(tokenizer) if unit == "tokens" else None

    def size(self, text: str, start: int, end: int) -> int:
        """Size of ``text[start:end]``."""
        if self._tokenizer is None:
            return end - start
        return self._tokenizer.count(text[start:end])

    def fits(self, text: str, start: int, end: int, limit: int) -> bool:
        """Whether ``text[start:end]`` is at most ``limit`` long."""
        if self._tokenizer is None:
            return end - start <= limit
        return self._tokenizer.count(text[start:end]) <= limit

    def reach(self, text: str, start: int, end: int, limit: int) -> int:
        """Largest known ``stop <= end`` for which ``text[start:stop]`` fits ``limit``.

        At least one character is taken, so that cutting always advances: a single character can be
        several tokens.
        """
        if self._tokenizer is None:
            return min(end, start + max(1, limit))
        window = max(64, limit * _CHARS_PER_TOKEN)
        while True:
            stop = min(end, start + window)
            piece = text[start:stop]
            at = self._tokenizer.cut(piece, limit)
            if at < len(piece) or stop == end:
                return min(end, start + max(1, at))
            window *= 2


def check_sizes(chunk_size: int, overlap: int) -> None:
    """Refuse sizes with which a splitter would not advance.

    Raises:
        ConfigError: ``overlap`` is not smaller than ``chunk_size``.
    """
    if overlap >= chunk_size:
        raise ConfigError(
            f"overlap must be smaller than chunk_size, got overlap {overlap} and chunk_size "
            f"{chunk_size}"
        )


def trim(text: str, start: int, end: int) -> Span | None:
    """The span without white space at its ends; ``None`` when nothing is left."""
    first = _WORD.search(text, start, end)
    if first is None:
        return None
    start = first.start()
    while text[end - 1].isspace():
        end -= 1
    return start, end


def cut_words(
    text: str, start: int, end: int, limit: int, overlap: int, measure: Measure
) -> Iterator[Span]:
    """Spans of at most ``limit``, ended at white space where the second half of one has some.

    Each begins up to ``overlap`` before the end of the one before it, at the start of a word where
    there is one.
    """
    covered = start
    while True:
        while start < end and text[start].isspace():
            start += 1
        if start >= end:
            return
        stop = measure.reach(text, start, end, limit)
        if stop < end and not text[stop].isspace():
            stop = _last_space(text, start + (stop - start + 1) // 2, stop) or stop
        bare = stop
        while text[bare - 1].isspace():
            bare -= 1
        if bare <= covered:  # all of it was in the span before: go on without repeating
            start = stop
            continue
        yield start, bare
        covered = bare
        if stop >= end:
            return
        start = max(start + 1, _back(text, start, bare, overlap, measure)) if overlap else stop


def _last_space(text: str, start: int, stop: int) -> int | None:
    for at in range(stop - 1, start - 1, -1):
        if text[at].isspace():
            return at
    return None


def _back(text: str, start: int, stop: int, overlap: int, measure: Measure) -> int:
    """Where the next span begins so that it repeats at most ``overlap`` of ``[start, stop)``."""
    low, high = start + 1, stop
    while low < high:  # the size of a suffix falls as it begins later
        middle = (low + high) // 2
        if measure.fits(text, middle, stop, overlap):
            high = middle
        else:
            low = middle + 1
    if low > start and not text[low - 1].isspace():
        space = _SPACE.search(text, low, stop)
        if space is not None:
            return space.end()
    return low


def pack(
    text: str, atoms: Sequence[Span], limit: int, overlap: int, measure: Measure
) -> Iterator[Span]:
    """Joins atoms, in order, into spans of at most ``limit``.

    Args:
        text: The text.
        atoms: Spans in order that do not overlap; each fits ``limit`` by itself.
        limit: Most size of a joined span.
        overlap: The next span repeats as many whole atoms as fit this size, and never so many that
            the atom after them would not fit.
        measure: The unit.
    """
    first = 0
    while first < len(atoms):
        start = atoms[first][0]
        last = first
        while last + 1 < len(atoms) and measure.fits(text, start, atoms[last + 1][1], limit):
            last += 1
        end = atoms[last][1]
        yield start, end
        if last + 1 == len(atoms):
            return
        after = atoms[last + 1][1]
        first = last + 1
        while (
            overlap
            and atoms[first - 1][0] > start
            and measure.fits(text, atoms[first - 1][0], end, overlap)
            and measure.fits(text, atoms[first - 1][0], after, limit)
        ):
            first -= 1


def split_after(text: str, start: int, end: int, ends: Iterable[int]) -> list[Span]:
    """The pieces of ``[start, end)`` that end at ``ends`` (ascending).

    White space at their ends is left out, and so are pieces of nothing else.
    """
    spans = []
    for at in (*ends, end):
        if start < at <= end:
            bare = trim(text, start, at)
            if bare is not None:
                spans.append(bare)
            start = at
    return spans


def ends_of(text: str, mark: str, start: int, end: int) -> Iterator[int]:
    """Where the occurrences of ``mark`` in ``[start, end)`` end."""
    at = text.find(mark, start, end)
    while at >= 0:
        yield at + len(mark)
        at = text.find(mark, at + len(mark), end)


def cut_long(text: str, spans: Iterable[Span], limit: int, measure: Measure) -> list[Span]:
    """The spans, those longer than ``limit`` cut at words."""
    fitting: list[Span] = []
    for start, end in spans:
        if measure.fits(text, start, end, limit):
            fitting.append((start, end))
        else:
            fitting += cut_words(text, start, end, limit, 0, measure)
    return fitting


def passages(document: Document, spans: Iterable[Span]) -> Iterator[Document]:
    """The documents of the spans, white space at their ends left out.

    ``text`` is ``document.text[start:end]`` exactly; ``id`` is ``PARENT#NUMBER``; the metadata are
    those of the document. Offsets count from the start of ``document.text``.
    """
    number = 0
    for start, end in spans:
        span = trim(document.text, start, end)
        if span is None:
            continue
        yield Document(
            id=f"{document.id}#{number}",
            text=document.text[span[0] : span[1]],
            metadata=document.metadata,
            start=span[0],
            end=span[1],
            parent_id=document.id,
        )
        number += 1
