"""A data set's documents as passages, in memory or in a vector collection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from sage.apps.qa.index import build_collection
from sage.common.cli.output import say
from sage.lib.types import Document
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model


def passages_of(documents: Sequence[Document], max_chars: int | None) -> list[Document]:
    """The documents, or pieces of them of at most ``max_chars`` characters.

    A document that stays whole has its title before its text, as retrieval benchmarks have it; a
    turn of a conversation (``speaker``, ``date_time``) who said it and when.
    Pieces end after a sentence or a word where one ends in their second half; they know their place
    in the document.
    """
    if max_chars is None:
        return [_titled(document) for document in documents]
    return [piece for document in documents for piece in _pieces(document, max_chars)]


def collection_of(passages: Sequence[Document], folder: Path, embedder: str) -> str:
    """Make (or find again) the vector collection of passages; returns its name."""
    model = apply_embedding_model(embedder)
    # Minutes for large corpora, the first time.
    say(f"{len(passages)} passages, embedding model {model.name}; indexes are kept in {folder}")
    try:
        return build_collection(passages, folder, model)
    finally:
        model.close()


def _titled(document: Document) -> Document:
    known = document.metadata
    parts = [known[key] for key in ("speaker", "date_time") if isinstance(known.get(key), str)]
    title = " ".join(parts) if "speaker" in known else known.get("title")
    if not isinstance(title, str) or not title.strip() or document.text.startswith(title):
        return document
    return attrs.evolve(document, text=f"{title}\n{document.text}")


def _pieces(document: Document, size: int) -> Iterator[Document]:
    text, start, number = document.text, 0, 0
    while start < len(text):
        end = _end(text, start, size)
        if text[start:end].strip():
            number += 1
            yield Document(
                id=f"{document.id}#{number}",
                text=text[start:end],
                # A collection keeps metadata, not places: so both have them.
                metadata={
                    **document.metadata,
                    "parent_id": document.id,
                    "start": start,
                    "end": end,
                },
                start=start,
                end=end,
                parent_id=document.id,
            )
        start = end


def _end(text: str, start: int, size: int) -> int:
    if start + size >= len(text):
        return len(text)
    half = start + size // 2
    best = start + size
    for pattern in (r"(?<=[.!?])\s", r"\s"):
        ends = [m.end() for m in re.compile(pattern).finditer(text, half, start + size)]
        if ends:
            return ends[-1]
    return best
