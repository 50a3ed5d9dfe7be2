"""``SpanOverlapEvaluate``: how exactly the passages cover the marked spans of the documents."""

from __future__ import annotations

from collections.abc import Iterable

from sage.lib.errors import ItemError
from sage.lib.evaluate.metric import PassageMetric, Scores
from sage.lib.types import Answer, Document, Query

SPANS = "spans"
"""Key of ``Query.metadata``: a list of ``{"document_id", "start", "end"}``, in characters."""

Span = tuple[int, int]


class SpanOverlapEvaluate(PassageMetric):
    """Adds ``span_recall``, ``span_precision`` and ``span_iou``, counted in characters.

    Recall: share of the marked characters that a passage has. Precision: share of the characters
    of all passages that are marked (a character in two passages counts twice, for it is read
    twice). IoU: shared characters over marked or read ones. ``None`` when the question has no
    spans. Passages name their document by ``parent_id`` (else ``id``) and their place by
    ``start``; one without a place is taken to be the whole document.

    Source: Smith, Troynikov, Evaluating Chunking Strategies for Retrieval, 2024.

    Example:
        >>> stream.map(SpanOverlapEvaluate)
    """

    metrics = ("span_recall", "span_precision", "span_iou")

    def score(self, answer: Answer) -> Scores:
        wanted = spans_of(answer.query)
        marked = sum(end - start for spans in wanted.values() for start, end in spans)
        if not marked:
            return dict.fromkeys(self.metrics)
        read = 0
        found: dict[str, list[Span]] = {}
        for passage in answer.passages:
            start, end = _place(passage)
            read += end - start
            name = passage.parent_id or passage.id
            found.setdefault(name, []).append((start, end))
        shared = sum(_shared(spans, merge(found.get(doc, ()))) for doc, spans in wanted.items())
        return {
            "span_recall": shared / marked,
            "span_precision": shared / read if read else 0.0,
            "span_iou": shared / (marked + read - shared),
        }


def spans_of(query: Query) -> dict[str, list[Span]]:
    """Marked spans by document, without overlaps, in order.

    Raises:
        ItemError: ``metadata["spans"]`` has another form.
    """
    spans: dict[str, list[Span]] = {}
    try:
        for each in query.metadata.get(SPANS) or ():
            span = (int(each["start"]), int(each["end"]))
            spans.setdefault(str(each["document_id"]), []).append(span)
    except (TypeError, KeyError, ValueError) as exc:
        raise ItemError(
            f"question {query.id!r}: metadata['spans'] must list mappings with document_id, "
            "start and end"
        ) from exc
    return {doc: merge(found) for doc, found in spans.items()}


def merge(spans: Iterable[Span]) -> list[Span]:
    """The same characters as spans without overlaps, in order."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def _shared(a: list[Span], b: list[Span]) -> int:
    return sum(
        max(0, min(end, other_end) - max(start, other_start))
        for start, end in a
        for other_start, other_end in b
    )


def _place(passage: Document) -> Span:
    start = passage.start or 0
    return start, passage.end if passage.end is not None else start + len(passage.text)
