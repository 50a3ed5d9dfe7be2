"""What flows through a RAG pipeline: one item that each stage enriches.

``Query`` → ``Retrieved`` (with passages) → ``Prompt`` (with messages) → ``Answer`` (with usage) →
``Evaluation``. Each later value holds the earlier one, so that the answer at the sink still has its
question, its passages with ids and scores, its prompt, model, usage and cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

LINEAGE_TEXT = 500
"""Most characters of an answer that lineage keeps; the ledger has the whole reply."""


@attrs.frozen(kw_only=True)
class Document:
    """A text with an identity.

    Attributes:
        id: Unique within its collection.
        text: The text.
        metadata: Plain values: str, int, float, bool, None, lists of these.
        score: Relevance in the direction "higher is better", or ``None`` when not retrieved.
        start, end: Character offsets into the parent document, or ``None``.
        parent_id: Id of the document this passage was cut from, or ``None``.
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    score: float | None = None
    start: int | None = None
    end: int | None = None
    parent_id: str | None = None


@attrs.frozen(kw_only=True)
class Query:
    """A question.

    Attributes:
        text: The question.
        id: Given or derived by the source.
        answers: Reference answers, for evaluation; empty when unknown.
        metadata: What the source knows besides.
    """

    text: str
    id: str = ""
    answers: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = attrs.field(factory=dict)

    def lineage_facts(self) -> dict[str, Any]:
        """What ``job.why`` shows of the question."""
        return {"question": self.text, **({"source": self.id} if self.id else {})}


@attrs.frozen(kw_only=True)
class Retrieved:
    """A question with its passages, best first."""

    query: Query
    passages: tuple[Document, ...] = ()

    def lineage_facts(self) -> dict[str, Any]:
        """What ``job.why`` shows: the question and its passages."""
        return {**self.query.lineage_facts(), **_passage_facts(self.passages)}


@attrs.frozen(kw_only=True)
class ToolCall:
    """A tool call the model asked for. ``arguments`` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@attrs.frozen(kw_only=True)
class ChatMessage:
    """One message of a chat. ``role``: system, user, assistant or tool."""

    role: str
    content: str
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@attrs.frozen(kw_only=True)
class Prompt:
    """Messages ready for a model.

    Attributes:
        messages: What is sent.
        query: The question it was made from.
        passages: The passages it was made from; those that did not fit are left out.
        version: Short hash of the template, for lineage.
        tokens: Tokens of the context by the promptor's tokenizer.
    """

    messages: tuple[ChatMessage, ...]
    query: Query
    passages: tuple[Document, ...] = ()
    version: str = ""
    tokens: int | None = None

    def lineage_facts(self) -> dict[str, Any]:
        """What ``job.why`` shows: question, passages, and which prompt was made of them."""
        prompt: dict[str, Any] = {"version": self.version}
        if self.tokens:  # 0: there was no context to count, which says nothing of the prompt
            prompt["tokens"] = self.tokens
        return {**self.query.lineage_facts(), **_passage_facts(self.passages), "prompt": prompt}


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens of one model call as the provider counted them; ``None`` when it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


@attrs.frozen(kw_only=True)
class Citation:
    """A span of a passage that supports the answer: characters ``[start, end)`` of its text."""

    document_id: str
    start: int
    end: int


@attrs.frozen(kw_only=True)
class Answer:
    """What the generator said, with everything that led to it.

    Attributes:
        text: The answer.
        prompt: The prompt, or ``None`` for generators that need none.
        query, passages: As given to the generator.
        model: Model that answered, as the provider names it.
        usage: Tokens.
        finish_reason: As the provider says: stop, length, tool_calls, content_filter.
        tool_calls: Tool calls the model asked for.
        citations: Spans that support the answer (extractive generators).
        cost: Money in USD, or ``None`` when the price is not known. Never zero for unknown.
        latency: Seconds the model call took, retries included.
        retries: How many attempts failed before the one that answered.
    """

    text: str
    query: Query
    prompt: Prompt | None = None
    passages: tuple[Document, ...] = ()
    model: str = ""
    usage: Usage = attrs.field(factory=Usage)
    finish_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    citations: tuple[Citation, ...] = ()
    cost: float | None = None
    latency: float | None = None
    retries: int = 0
    metadata: Mapping[str, Any] = attrs.field(factory=dict)

    def lineage_facts(self) -> dict[str, Any]:
        """What ``job.why`` shows: question, passages, prompt, model and answer."""
        before = self.query.lineage_facts() if self.prompt is None else self.prompt.lineage_facts()
        return {
            **before,
            **_passage_facts(self.passages),
            "model": self.model,
            "answer": self.text[:LINEAGE_TEXT],
        }


@attrs.frozen(kw_only=True)
class Evaluation:
    """Scores of one answer; ``None`` is "no score". ``answer`` still has everything."""

    answer: Answer
    scores: Mapping[str, float | None] = attrs.field(factory=dict)

    def lineage_facts(self) -> dict[str, Any]:
        """What ``job.why`` shows: that of the answer, and its scores."""
        return {**self.answer.lineage_facts(), "scores": dict(self.scores)}


def _passage_facts(passages: tuple[Document, ...]) -> dict[str, Any]:
    return {"passages": [{"id": each.id, "score": each.score} for each in passages]}
