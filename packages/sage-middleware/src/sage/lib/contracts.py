"""Typed contracts of the operator families, over ``sage.api.functions``.

One base per family of the operator library. Each says what flows in and out; the graph builder
compares these types before the first item. Inputs are wide on purpose: ``sage.lib.adapt`` turns
strings, mappings and ``(query, documents)`` tuples into the typed values at the edges.

Predecessor: ``sage.lib.types``; successor: the operators in ``sage.lib.io``, ``sage.lib.rag`` and
``sage.lib.evaluate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from sage.api.functions import (
    FlatMapFunction,
    MapFunction,
    SinkFunction,
    SourceFunction,
)
from sage.lib.types import Answer, Document, Evaluation, Prompt, Query, Retrieved

QueryLike = Query | Retrieved | str | Mapping[str, Any] | tuple[Any, ...]
"""What a retriever takes."""

RetrievedLike = Retrieved | Query | Prompt | str | Mapping[str, Any] | tuple[Any, ...]
"""What rerankers, refiners and promptors take."""

PromptLike = Prompt | Retrieved | Query | str | Mapping[str, Any] | tuple[Any, ...] | list[Any]
"""What a generator takes."""

AnswerLike = Answer | Evaluation | Mapping[str, Any] | tuple[Any, ...]
"""What an evaluator takes."""

DocumentLike = Document | str | Mapping[str, Any]
"""What a transform of documents takes."""


@attrs.frozen
class NoConfig:
    """``Config`` of an operator without settings: any key is a mistake, and named."""


In = TypeVar("In")
Out = TypeVar("Out")


class RetrievalFunction(MapFunction[QueryLike, Retrieved]):
    """Finds passages for a question; passages are best first and carry ``score``."""

    calls_on_behalf = True  # an embedding model may be a hosted one

    def execute(self, item: QueryLike) -> Retrieved:
        """Find the passages of a question."""
        raise NotImplementedError


class RerankFunction(MapFunction[RetrievedLike, Retrieved]):
    """Reorders the passages of a question. Never invents passages."""

    calls_on_behalf = True  # an embedding model may be a hosted one

    def execute(self, item: RetrievedLike) -> Retrieved:
        """Reorder the passages of an item."""
        raise NotImplementedError


class RefineFunction(MapFunction[RetrievedLike, Retrieved]):
    """Shortens, filters or merges the passages of a question."""

    calls_on_behalf = True  # an embedding model may be a hosted one

    def execute(self, item: RetrievedLike) -> Retrieved:
        """Shorten, filter or merge the passages of an item."""
        raise NotImplementedError


class PromptFunction(MapFunction[RetrievedLike, Prompt]):
    """Builds the messages for a model. Data is never treated as a template."""

    calls_on_behalf = True  # an embedding model may be a hosted one

    def execute(self, item: RetrievedLike) -> Prompt:
        """Build the prompt of an item."""
        raise NotImplementedError


class GenerationFunction(MapFunction[PromptLike, Answer]):
    """Answers a prompt. ``execute`` may be ``async``; paid generators set ``effect = True``."""

    def execute(self, item: PromptLike) -> Any:
        """Answer one prompt."""
        raise NotImplementedError


class AgentFunction(MapFunction[PromptLike, Answer]):
    """Takes several model and tool steps to answer. ``execute`` may be ``async``."""

    effect = True

    def execute(self, item: PromptLike) -> Any:
        """Answer one prompt in several steps."""
        raise NotImplementedError


class EvaluateFunction(MapFunction[AnswerLike, Evaluation]):
    """Scores an answer; the result holds the scores of earlier evaluators too.

    Attributes:
        metrics: Names of the scores this evaluator sets.
    """

    calls_on_behalf = True  # an embedding model may be a hosted one

    metrics: tuple[str, ...] = ()

    def execute(self, item: AnswerLike) -> Evaluation:
        """Score one answer."""
        raise NotImplementedError


class TransformFunction(FlatMapFunction[Document, Document]):
    """Turns a document into any number of documents: parsing, splitting, normalising."""

    def execute(self, item: Document) -> Any:
        """Yield the documents made of one."""
        raise NotImplementedError


class RoutingFunction(MapFunction[Any, str]):
    """Names the route of an item; used with ``stream.route(...)``."""

    calls_on_behalf = True  # an embedding model may be a hosted one

    def execute(self, item: Any) -> str:
        """Name the route of one item."""
        raise NotImplementedError


__all__ = [
    "AgentFunction",
    "AnswerLike",
    "DocumentLike",
    "EvaluateFunction",
    "GenerationFunction",
    "NoConfig",
    "PromptFunction",
    "PromptLike",
    "QueryLike",
    "RefineFunction",
    "RerankFunction",
    "RetrievalFunction",
    "RetrievedLike",
    "RoutingFunction",
    "SinkFunction",
    "SourceFunction",
    "TransformFunction",
]
