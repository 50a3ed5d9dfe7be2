"""The dataflow graph: questions → passages → prompt → answer → scores → sink."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from sage.api import LocalEnvironment
from sage.lib.adapt import as_answer
from sage.lib.contracts import AnswerLike, EvaluateFunction
from sage.lib.evaluate import ExactMatch, F1Evaluate
from sage.lib.evaluate.scores import with_score
from sage.lib.evaluate.squad import normalize
from sage.lib.io.sink import CallbackSink
from sage.lib.rag.generator import ExtractiveGenerator, OpenAIGenerator
from sage.lib.rag.promptor import QAPromptor
from sage.lib.rag.retriever import HybridRetriever
from sage.lib.types import Evaluation, Query

TEMPLATE = (
    "Answer the question from the context in as few words as possible. If the context does not "
    "say, answer: I do not know.\n\nContext:\n{context}\n\nQuestion: {query}\nAnswer:"
)


@attrs.frozen(kw_only=True)
class Generator:
    """Which generator answers.

    Attributes:
        operator: Its class.
        config: Its configuration.
        label: What to tell the user.
    """

    operator: type
    config: dict[str, Any]
    label: str


def choose_generator(model: str | None) -> Generator:
    """A model server if ``OPENAI_BASE_URL`` or ``OPENAI_API_KEY`` is set, else no model."""
    base_url = os.environ.get("OPENAI_BASE_URL")
    if base_url or os.environ.get("OPENAI_API_KEY"):
        name = model or os.environ.get("OPENAI_MODEL") or "gpt-4o-mini"
        return Generator(
            operator=OpenAIGenerator,
            config={"model": name, "temperature": 0.0, "max_tokens": 200},
            label=f"{name} at {base_url or 'OpenAI'}",
        )
    return Generator(
        operator=ExtractiveGenerator,
        config={"answer": "span"},
        label="extractive: quotes the passages, no language model is used "
        "(set OPENAI_BASE_URL or OPENAI_API_KEY to use one)",
    )


class RetrievalHit(EvaluateFunction):
    """Adds the score ``hit``: whether a passage has the wanted document or a reference answer.

    A question may name its document (``document``); else a passage must contain one of its
    reference answers. ``None`` when it has neither.
    """

    metrics = ("hit",)

    def execute(self, item: AnswerLike) -> Evaluation:
        """Score the passages of one answer."""
        answer = as_answer(item)
        wanted = answer.query.metadata.get("document")
        hit: float | None = None
        if wanted is not None:
            hit = float(any(d.metadata.get("source") == wanted for d in answer.passages))
        elif answer.query.answers:
            texts = [normalize(d.text) for d in answer.passages]
            known = [normalize(reference) for reference in answer.query.answers]
            hit = float(any(reference in text for reference in known for text in texts))
        return with_score(item, "hit", hit)


def build_pipeline(
    questions: Sequence[Query],
    *,
    collection: str,
    data_dir: Path | None,
    top_k: int,
    generator: Generator,
    on_answer: Callable[[Evaluation], object],
) -> LocalEnvironment:
    """The environment with the whole pipeline declared; ``submit()`` runs it."""
    env = LocalEnvironment("qa")
    retriever = {
        "collection_name": collection,
        "data_dir": None if data_dir is None else str(data_dir),
        "top_k": top_k,
    }
    (
        env.from_collection(list(questions), type=Query)
        .map(HybridRetriever, retriever)
        .map(QAPromptor, {"template": TEMPLATE, "max_context_length": 2000})
        .map(generator.operator, generator.config)
        .map(F1Evaluate)
        .map(ExactMatch)
        .map(RetrievalHit)
        .sink(CallbackSink, {"callback": on_answer})
    )
    return env
