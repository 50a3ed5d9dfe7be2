"""``MarkdownSplitter``: passages by heading and paragraph, with character offsets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs

from sage.lib.adapt import as_document
from sage.lib.contracts import DocumentLike, TransformFunction
from sage.lib.types import Document

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"\s*(```|~~~)")


@attrs.frozen(kw_only=True)
class Section:
    """A piece of a Markdown text.

    Attributes:
        start, end: Characters ``[start, end)`` of the text.
        headings: The headings above it, outermost first.
    """

    start: int
    end: int
    headings: tuple[str, ...]


class MarkdownSplitter(TransformFunction):
    """Cuts a document under its headings into passages of whole paragraphs.

    Paragraphs are joined until ``max_chars`` would be exceeded; a longer one stays whole, and code
    blocks are never cut. The text of a passage is the document's own, so ``start`` and ``end``
    point into it; ``metadata["title"]`` has the headings above it.

    Example:
        >>> stream.flatmap(MarkdownSplitter, {"max_chars": 800})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            max_chars: Characters of a passage, at most, unless one paragraph is longer.
        """

        max_chars: int = attrs.field(default=800, validator=attrs.validators.ge(1))

    def execute(self, item: DocumentLike) -> Iterator[Document]:
        """Yield the passages of one document.

        Raises:
            ItemError: The item has no text.
        """
        document = as_document(item)
        for number, section in enumerate(split_markdown(document.text, self.config.max_chars)):
            metadata: dict[str, Any] = {
                **document.metadata,
                "title": " > ".join(section.headings),
            }
            yield Document(
                id=f"{document.id}#{number}",
                text=document.text[section.start : section.end],
                metadata=metadata,
                start=section.start,
                end=section.end,
                parent_id=document.id,
            )


def split_markdown(text: str, max_chars: int = 800) -> list[Section]:
    """Sections in order; headings themselves and blank lines are in none.

    Args:
        text: The Markdown text.
        max_chars: See ``MarkdownSplitter``.
    """
    sections: list[Section] = []
    headings: list[tuple[int, str]] = []
    open_start = open_end = -1
    for start, end, heading in _blocks(text):
        if heading is None and open_start >= 0 and end - open_start <= max_chars:
            open_end = end
            continue
        if open_start >= 0:
            sections.append(_section(open_start, open_end, headings))
            open_start = -1
        if heading is None:
            open_start, open_end = start, end
        else:
            headings = [h for h in headings if h[0] < heading[0]] + [heading]
    if open_start >= 0:
        sections.append(_section(open_start, open_end, headings))
    return sections


def _section(start: int, end: int, headings: list[tuple[int, str]]) -> Section:
    return Section(start=start, end=end, headings=tuple(title for _, title in headings))


def _blocks(text: str) -> Iterator[tuple[int, int, tuple[int, str] | None]]:
    """``(start, end, heading)`` of every paragraph, code block or heading."""
    position = 0
    start = end = -1
    fence = ""
    for line in text.splitlines(keepends=True):
        bare = line.rstrip()
        mark = _FENCE.match(line)
        heading = None if fence else _HEADING.match(bare)
        if (not bare and not fence) or heading:
            if start >= 0:
                yield start, end, None
                start = -1
        elif start < 0:
            start = position
        if heading:
            yield position, position + len(bare), (len(heading[1]), heading[2])
        elif bare:
            end = position + len(bare)
        if mark:
            fence = "" if fence == mark[1] else fence or mark[1]
        position += len(line)
    if start >= 0:
        yield start, end, None
