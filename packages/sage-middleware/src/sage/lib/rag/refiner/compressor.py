"""``ContextCompressor``: the sentences that matter for the question, within a token budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sage.lib.adapt import as_retrieved
from sage.lib.contracts import RefineFunction, RetrievedLike
from sage.lib.rag.refiner.spans import Cut, cut_passage
from sage.lib.types import Document, Retrieved
from sage.middleware.tokens import get_tokenizer

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class ContextCompressor(RefineFunction):
    """Keeps the sentences that say most about the question, as many as fit, and nothing else.

    Extractive: every kept character stands in a passage. Sentences are taken by relevance (shared
    words weighted by rarity, or closeness of embeddings with ``embed``; a neighbour's relevance
    counts a little, and so does the rank of the passage) until the budget is full, and put back in
    the order of the text. A passage no sentence of which is taken is dropped. Passages that fit
    already come through unchanged.

    A kept passage keeps its id; ``metadata["spans"]`` has the characters ``[start, end)`` of the
    text it came with, so that every piece can be traced. With ``output="spans"`` each piece is a
    passage of its own with ``start``, ``end`` and ``parent_id``. The step's metrics ``tokens_in``
    and ``tokens_out`` give the compression rate.

    Example:
        >>> stream.map(ContextCompressor, {"max_tokens": 500})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            max_tokens: Most tokens of all passages together, by ``tokenizer``; the separators
                inside of passages count.
            tokenizer: ``simple``, ``tiktoken:ENCODING`` or ``tokenizers:PATH``.
            min_relevance: Sentences below this share of the best one's relevance are left out even
                where there is room, 0 to 1.
            always: Leave out irrelevant sentences also of passages that fit the budget.
            output: ``passages`` (one per passage, pieces joined by ``separator``) or ``spans``.
            separator: Between pieces that were not neighbours.
            embed: ``text -> vector``, an ``EmbeddingModel`` or the name of one; default: words.
            language: ISO 639-1 code or English name; ``auto``: guessed for each question.
        """

        max_tokens: int = attrs.field(default=500, validator=attrs.validators.ge(1))
        tokenizer: str = "simple"
        min_relevance: float = attrs.field(
            default=0.1,
            validator=attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1)),
        )
        always: bool = False
        output: str = attrs.field(
            default="passages", validator=attrs.validators.in_(("passages", "spans"))
        )
        separator: str = " … "
        embed: Any = None
        language: str = "auto"

    _embedding: Any = None

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self._tokenizer = get_tokenizer(self.config.tokenizer)

    def open(self, ctx: RuntimeContext) -> None:
        """Load the stems, or the embedding model.

        Raises:
            ConfigError: ``embed`` or ``language`` is not known.
        """
        from sage.lib.rag.refiner.relevance import (  # noqa: PLC0415 - NumPy
            by_vectors,
            by_words,
        )
        from sage.lib.rag.retriever.embedding import Embedding  # noqa: PLC0415
        from sage.lib.rag.terms import Terms  # noqa: PLC0415

        self._ctx = ctx
        if self.config.embed is None:
            self._relevance = by_words(Terms(self.config.language))
        else:
            self._embedding = Embedding(self.config.embed)
            self._relevance = by_vectors(self._embedding)

    def execute(self, item: RetrievedLike) -> Retrieved:
        """Shorten the passages of one question.

        Raises:
            ItemError: The item holds no question.
        """
        retrieved = as_retrieved(item)
        count = self._tokenizer.count
        before = sum(count(d.text) for d in retrieved.passages)
        if before <= self.config.max_tokens and not self.config.always:
            kept = retrieved.passages
            after = before
        else:
            kept = self._compressed(retrieved)
            after = sum(count(d.text) for d in kept)
        self._ctx.count("tokens_in", before)
        self._ctx.count("tokens_out", after)
        return attrs.evolve(retrieved, passages=kept)

    def close(self) -> None:
        """Close the model if it was made here."""
        if self._embedding is not None:
            self._embedding.close()
            self._embedding = None

    def _compressed(self, retrieved: Retrieved) -> tuple[Document, ...]:
        passages = retrieved.passages
        cuts = [cut for n, d in enumerate(passages) for cut in cut_passage(n, d.text)]
        if not cuts:
            return ()
        texts = [passages[cut.passage].text[cut.start : cut.end] for cut in cuts]
        relevance = self._relevance(retrieved.query.text, cuts, texts)
        least = self.config.min_relevance * max(relevance)
        # Without any relevant sentence the order of the passages is all there is to go by.
        blind = max(relevance) <= 0
        best = sorted(
            (n for n in range(len(cuts)) if blind or relevance[n] >= max(least, 1e-9)),
            key=lambda n: (-relevance[n], n),
        )
        chosen = self._fitting(passages, cuts, best)
        while chosen:
            made = self._passages(passages, [cuts[n] for n in chosen])
            if sum(self._tokenizer.count(d.text) for d in made) <= self.config.max_tokens:
                return made
            chosen.pop()  # the separators were too much: the least relevant goes
        return self._beginning(passages, cuts[best[0]])

    def _fitting(
        self, passages: tuple[Document, ...], cuts: list[Cut], best: list[int]
    ) -> list[int]:
        left = self.config.max_tokens
        chosen: list[int] = []
        for n in best:
            cut = cuts[n]
            size = self._tokenizer.count(passages[cut.passage].text[cut.start : cut.end])
            if size <= left:
                chosen.append(n)
                left -= size
        return chosen

    def _beginning(self, passages: tuple[Document, ...], cut: Cut) -> tuple[Document, ...]:
        # The best sentence alone is larger than the budget: as much of it as fits.
        text = passages[cut.passage].text[cut.start : cut.end]
        end = self._tokenizer.cut(text, self.config.max_tokens)
        if not text[:end].strip():
            return ()
        return self._passages(passages, [attrs.evolve(cut, end=cut.start + end)])

    def _passages(self, passages: tuple[Document, ...], cuts: list[Cut]) -> tuple[Document, ...]:
        runs: dict[int, list[list[int]]] = {}
        ordinal: dict[int, int] = {}
        for cut in sorted(cuts, key=lambda c: (c.passage, c.start)):
            found = runs.setdefault(cut.passage, [])
            if found and ordinal[cut.passage] == cut.number - 1:
                found[-1][1] = cut.end
            else:
                found.append([cut.start, cut.end])
            ordinal[cut.passage] = cut.number
        made: list[Document] = []
        for n, spans in sorted(runs.items()):
            if self.config.output == "spans":
                made.extend(_piece(passages[n], start, end) for start, end in spans)
            else:
                made.append(_shortened(passages[n], spans, self.config.separator))
        return tuple(made)


def _shortened(passage: Document, spans: list[list[int]], separator: str) -> Document:
    if spans == [[0, len(passage.text)]]:
        return passage
    text = separator.join(passage.text[start:end] for start, end in spans)
    shorter = attrs.evolve(
        passage, text=text, metadata={**passage.metadata, "spans": [list(s) for s in spans]}
    )
    if passage.start is None or len(spans) > 1:
        return shorter
    ((start, end),) = spans
    return attrs.evolve(shorter, start=passage.start + start, end=passage.start + end)


def _piece(passage: Document, start: int, end: int) -> Document:
    if (start, end) == (0, len(passage.text)):
        return passage
    # A passage that says where it stands in its document gives pieces that say the same.
    placed = passage.start is not None and passage.parent_id is not None
    base = (passage.start or 0) if placed else 0
    return attrs.evolve(
        passage,
        id=f"{passage.id}[{start}:{end}]",
        text=passage.text[start:end],
        start=base + start,
        end=base + end,
        parent_id=passage.parent_id if placed else passage.id,
    )
